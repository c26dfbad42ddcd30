/**
 * The probe: one run on a small synthetic batch. Its further outputs give the shapes, types and constants that the
 * graph alone does not determine.
 */

import { QkError } from '../../errors.js'
import type { RefusedSite, SiteCandidate } from '../candidate.js'
import { type InputRole, layoutOf, type ModelInput } from '../inference/inputs.js'
import { type GivenSizes, type ProbeSizes, probeFeeds, probeSizes } from '../inference/probe.js'
import { ProbeBudget } from '../inference/probe-budget.js'
import { checkScores } from '../inference/probe-scores.js'
import { InferenceSession, type WireTensor } from '../inference/session.js'
import { freeAxes } from '../inference/sizes/given.js'
import { tensorValues } from '../inference/values.js'
import type { Graph } from '../onnx/graph.js'
import { GraphEditor } from '../onnx/graph-editor.js'
import { constantFactor, givenFactors } from './constant-factors.js'
import { factorsOfScores, scoresOfZeros } from './replay.js'

type Tensors = Record<string, WireTensor>

/**
 * Number of sequences in a probe's batch, and of positions in each. Models without token ids have only the former.
 */
export interface BatchSizes {
  sequences: number
  positions: number | undefined
}

export interface ProbeContext {
  graph: Graph
  inputs: readonly ModelInput[]
  threads: number
  /** Sizes of free axes that the caller gives. */
  given?: GivenSizes
  /** Remaining time for runs, shared by all probes of a model. */
  budget?: ProbeBudget
}

const shapeName = (tensor: string) => `qkspace.shape/${tensor}`
const factorName = (tensor: string) => `qkspace.factors/${tensor}`
const maskName = (tensor: string) => `qkspace.mask/${tensor}`
const firstName = (tensor: string) => `qkspace.first/${tensor}`

/** Values and shapes of the candidates' tensors in a probe. */
export class ProbeValues {
  constructor(
    private readonly values: Tensors,
    readonly sizes: BatchSizes,
  ) {}

  /** Shape of a tensor. Undefined if it was not requested. */
  readonly shapes = (tensor: string): number[] | undefined => {
    const found = this.values[shapeName(tensor)]
    return found && Array.from(found.data as BigInt64Array, Number)
  }

  /** onnxruntime's name of the element type. */
  readonly typeName = (tensor: string): string => this.values[firstName(tensor)].type

  /** Value of a constant factor. Undefined if it is not a single number. */
  readonly scalar = (name: string): number | undefined => {
    const data = this.values[name] && tensorValues(this.values[name])
    return data?.length === 1 ? data[0] : undefined
  }

  /** The softmax's input for a product of zeros: only masks and biases. */
  readonly masks = ({ softmaxInput }: SiteCandidate): WireTensor => this.values[maskName(softmaxInput)]

  /** The factors of the product on its way to the softmax, entry by entry. */
  readonly factors = ({ softmaxInput }: SiteCandidate): WireTensor => this.values[factorName(softmaxInput)]
}

export interface Probe {
  running: readonly SiteCandidate[]
  feeds: Tensors
  values: ProbeValues
  /**
   * The probe repeated with one more sequence, and with longer sequences. Absent if the model has a fixed size, or did
   * not run.
   */
  more: { sequences?: ProbeValues; positions?: ProbeValues }
}

/** Runs all candidates at once. Errors: ERR_INFERENCE. */
export async function probe(context: ProbeContext, candidates: readonly SiteCandidate[]): Promise<Probe> {
  const editor = new GraphEditor(context.graph)
  for (const candidate of candidates) {
    requestProbe(editor, candidate)
  }
  const { first, sequences, positions } = await runProbe(context, editor, candidates.length)
  const values = (run: ProbeRun) => new ProbeValues(run.values, run.sizes)
  return {
    running: candidates,
    feeds: first.feeds,
    values: values(first),
    more: {
      ...(sequences && { sequences: values(sequences) }),
      ...(positions && { positions: values(positions) }),
    },
  }
}

/**
 * Fallback if the probe of all candidates fails: probes fused operators one by one, and reports why some do not run.
 */
export async function probeEach(
  context: ProbeContext,
  candidates: readonly SiteCandidate[],
): Promise<{ running: SiteCandidate[]; unsupported: RefusedSite[] }> {
  const running: SiteCandidate[] = []
  const unsupported: RefusedSite[] = []
  for (const candidate of candidates) {
    const { fused } = candidate
    try {
      if (fused) {
        await probe(context, [candidate])
      }
      running.push(candidate)
    } catch (error) {
      unsupported.push({
        node: fused!.node.name || fused!.node.output[0],
        op: fused!.op,
        reason: `what stands for it does not run: ${(error as Error).message}`,
        needs: 'attention written out, or the shapes of its inputs in the file (onnx.shape_inference)',
        at: fused!.node,
      })
    }
  }
  return { running, unsupported }
}

/** Sizes of the batch from the ids, or from the inputs in their place, since caches may have another first axis. */
function batchSizes(inputs: readonly ModelInput[], feeds: Tensors): BatchSizes {
  const named = (role: InputRole) => inputs.find((i) => i.role === role && feeds[i.name])
  const input = named('ids') ?? named('custom')
  if (!input) {
    return { sequences: 1, positions: undefined }
  }
  const { dims } = feeds[input.name]
  if (input.role !== 'ids') {
    return { sequences: dims[0] ?? 1, positions: undefined }
  }
  // Ids of one axis are one sequence.
  if (dims.length === 1) {
    return { sequences: 1, positions: dims[0] }
  }
  const { sequence, position } = layoutOf(input)
  return { sequences: dims[sequence], positions: dims[position] }
}

interface ProbeRun {
  feeds: Tensors
  values: Tensors
  sizes: BatchSizes
}

interface ProbeRuns {
  first: ProbeRun
  sequences?: ProbeRun
  positions?: ProbeRun
}

function requestProbe(editor: GraphEditor, candidate: SiteCandidate): void {
  const { product, steps, left, right, fused } = candidate
  const shaped = new Set([...product.input, product.output[0], candidate.softmaxInput])
  if (fused) {
    // These outputs are for verification, which uses the same feeds.
    for (const tensor of [fused.q, fused.k, fused.output, fused.node.output[0]]) {
      shaped.add(tensor)
    }
  }
  for (const step of [...left, ...right]) {
    shaped.add(step.source)
    if (step.factor !== undefined) {
      editor.output(step.factor)
    }
  }
  for (const { node } of steps) {
    shaped.add(node.output[0])
    if (node.opType === 'Concat') {
      for (const input of node.input) {
        shaped.add(input)
      }
    }
    const factor = constantFactor(editor.graph, node)
    if (factor !== undefined) {
      editor.output(factor.name)
    }
  }
  for (const name of givenFactors(editor.graph, candidate)) {
    shaped.add(name)
  }
  for (const tensor of shaped) {
    const output = shapeName(tensor)
    editor.node('Shape', [tensor], {}, output)
    editor.output(output)
  }
  // One element is enough to get the type.
  const typed = fused
    ? [fused.q, product.output[0], fused.node.output[0]]
    : [product.input[0], product.output[0]]
  for (const tensor of new Set(typed)) {
    const flat = editor.node('Reshape', [tensor, editor.int64Constant([-1])])
    const [start, end] = [editor.int64Constant([0]), editor.int64Constant([1])]
    editor.output(editor.node('Slice', [flat, start, end], {}, firstName(tensor)))
  }
  const whole = (tensor: string, name: string) => editor.output(editor.node('Identity', [tensor], {}, name))
  whole(scoresOfZeros(editor, candidate), maskName(candidate.softmaxInput))
  whole(factorsOfScores(editor, candidate), factorName(candidate.softmaxInput))
}

async function runProbe(context: ProbeContext, editor: GraphEditor, layers: number): Promise<ProbeRuns> {
  const { graph, inputs, threads, given, budget = new ProbeBudget() } = context
  const { bytes, inputs: needed } = editor.build()
  const session = await InferenceSession.open({
    bytes,
    weightsFolder: graph.model.weightsFolder,
    threads,
    once: true,
  })
  const used = inputs.filter((input) => needed.includes(input.name))
  const run = async (sizes: ProbeSizes): Promise<ProbeRun> => {
    const feeds = probeFeeds(graph, used, sizes)
    checkScores(used, feeds, layers, given)
    const values = await budget.spend(() => session.run(feeds))
    return { feeds, values, sizes: batchSizes(used, feeds) }
  }
  /** A probe with another size of the ids. Absent if the size is fixed, or if the model does not accept it. */
  const varied = async (first: ProbeRun, sizes: ProbeSizes, which: keyof BatchSizes) => {
    const other = await run(sizes).catch(() => undefined)
    return other && other.sizes[which] !== first.sizes[which] ? other : undefined
  }
  const failures: unknown[] = []
  const tries = probeSizes(used, given)
  try {
    for (const sizes of tries) {
      // A run cannot be interrupted, but the next one can be skipped.
      if (failures.length > 0 && budget.isSpent) {
        break
      }
      try {
        const first = await run(sizes)
        if (first.sizes.positions === undefined) {
          return { first }
        }
        return {
          first,
          sequences: await varied(first, { ...sizes, batch: sizes.batch + 1 }, 'sequences'),
          positions: await varied(first, { ...sizes, length: sizes.length + 2 }, 'positions'),
        }
      } catch (error) {
        failures.push(error)
      }
    }
  } finally {
    await session.close()
  }
  throw notRunning(context, failures, tries.length)
}

/** The error of a model that does not run. It reports the first failure, which has the most common sizes. */
function notRunning({ graph, inputs }: ProbeContext, failures: readonly unknown[], tries: number): QkError {
  const spent =
    failures.length < tries ? ` (${failures.length} of ${tries} sizes tried in ${ProbeBudget.seconds} s)` : ''
  const shapes = inputs.map(({ name, shape }) => `${name} [${shape}]`).join(', ')
  // The last axis is more likely a width than a number of sequences.
  const free = freeAxes(inputs).at(-1)
  const say =
    free !== undefined
      ? ` Say how long free axes are: openModel(file, { sizes: { '${free}': 24 } }), or --size ${free}=24 on the command line.`
      : ''
  return new QkError(
    'ERR_INFERENCE',
    `${graph.model.path} does not run on a synthetic batch${spent}: ${(failures[0] as Error).message}`,
    { cause: failures[0], hint: `Its inputs are ${shapes}.${say}` },
  )
}
