/**
 * Settles what the shape of a graph leaves open (which operand holds the queries, what each axis is, how
 * heads are grouped, what the scale is) by running a small synthetic batch and looking at concrete shapes.
 */

import { QkError } from '../../errors.js'
import type { FusedAttention } from '../fused/fused-operator.js'
import type { InputRole, ModelInput } from '../inference/inputs.js'
import { probeFeeds, probeSizes } from '../inference/probe.js'
import { InferenceSession, type WireTensor } from '../inference/session.js'
import { tensorValues } from '../inference/values.js'
import { type Graph, GraphEditor } from '../onnx/graph.js'
import type { NodeProto } from '../onnx/proto/onnx_pb.js'
import { isCross, isRotary, uncoveredTerms } from './ancestry.js'
import { type Axis, type CapturePoint, capturePoint, type Shapes } from './axes.js'
import type { SiteCandidate, UnsupportedSite } from './find.js'
import { type OperandAxes, patternAxes, productAxes } from './product-axes.js'
import { MASKED_BELOW, type ProductAxis, type ResolvedSite, type Side, type SiteKind } from './site.js'

export interface Survey {
  sites: ResolvedSite[]
  unsupported: UnsupportedSite[]
  /** The feeds that the probe ran on. */
  feeds: Record<string, WireTensor>
}

type Values = Record<string, WireTensor>

export interface SurveyContext {
  graph: Graph
  inputs: readonly ModelInput[]
  threads: number
}

const shapeName = (tensor: string) => `qkspace.shape/${tensor}`
const firstName = (tensor: string) => `qkspace.first/${tensor}`

/** Runs the probe and resolves every candidate, in topological order. Errors: ERR_INFERENCE. */
export async function surveySites(
  context: SurveyContext,
  candidates: readonly SiteCandidate[],
): Promise<Survey> {
  const unsupported: UnsupportedSite[] = []
  const { running, feeds, values } = await probe(context, candidates).catch(async (error) => {
    const alone = await probeEach(context, candidates)
    unsupported.push(...alone.unsupported)
    if (unsupported.length === 0 || alone.running.length === 0) throw error
    return probe(context, alone.running)
  })
  const sites: ResolvedSite[] = []
  const batch = sequencesOf(context.inputs, feeds)
  for (const candidate of running) {
    const site = resolve(context.graph, candidate, values, batch)
    if ('reason' in site) unsupported.push(site)
    else sites.push(site)
  }
  nameLayers(sites)
  return { sites, unsupported, feeds }
}

interface Probe {
  running: readonly SiteCandidate[]
  feeds: Values
  values: Values
}

async function probe(context: SurveyContext, candidates: readonly SiteCandidate[]): Promise<Probe> {
  const editor = new GraphEditor(context.graph)
  for (const candidate of candidates) requestProbe(editor, candidate)
  return { running: candidates, ...(await runProbe(context, editor)) }
}

/** Where the probe of all fails: which fused operators run beside their subgraph, and why the others do not. */
async function probeEach(
  context: SurveyContext,
  candidates: readonly SiteCandidate[],
): Promise<{ running: SiteCandidate[]; unsupported: UnsupportedSite[] }> {
  const running: SiteCandidate[] = []
  const unsupported: UnsupportedSite[] = []
  for (const candidate of candidates) {
    const { fused } = candidate
    try {
      if (fused) await probe(context, [candidate])
      running.push(candidate)
    } catch (error) {
      unsupported.push({
        node: fused!.node.name || fused!.node.output[0],
        op: fused!.op,
        reason: `what stands for it does not run: ${(error as Error).message}`,
        needs: 'attention written out, or the shapes of its inputs in the file (onnx.shape_inference)',
      })
    }
  }
  return { running, unsupported }
}

/** Sequences of the probe's batch: caches may put another axis first. */
function sequencesOf(inputs: readonly ModelInput[], feeds: Values): number {
  const named = (role: InputRole) => inputs.find((i) => i.role === role && feeds[i.name])
  const input = named('ids') ?? named('custom')
  // Ids of one axis are one sequence.
  if (input?.role === 'ids' && input.shape.length === 1) return 1
  return (input && feeds[input.name].dims[0]) ?? 1
}

function requestProbe(editor: GraphEditor, candidate: SiteCandidate): void {
  const { product, steps, left, right, fused } = candidate
  const shaped = new Set([...product.input, product.output[0], candidate.softmaxInput])
  if (fused) {
    // The outputs are for verification, which runs on the same feeds.
    for (const tensor of [fused.q, fused.k, fused.output, fused.node.output[0]]) shaped.add(tensor)
  }
  for (const step of [...left, ...right]) {
    shaped.add(step.source)
    if (step.factor !== undefined) editor.output(step.factor)
  }
  for (const { node } of steps) {
    shaped.add(node.output[0])
    const factor = constantFactor(editor.graph, node)
    if (factor !== undefined) editor.output(factor.name)
  }
  for (const tensor of shaped) {
    const output = shapeName(tensor)
    editor.node('Shape', [tensor], {}, output)
    editor.output(output)
  }
  // One element tells the type.
  const typed = fused
    ? [fused.q, product.output[0], fused.node.output[0]]
    : [product.input[0], product.output[0]]
  for (const tensor of new Set(typed)) {
    const flat = editor.node('Reshape', [tensor, editor.int64Constant([-1])])
    const [start, end] = [editor.int64Constant([0]), editor.int64Constant([1])]
    editor.output(editor.node('Slice', [flat, start, end], {}, firstName(tensor)))
  }
  editor.output(candidate.softmaxInput)
}

async function runProbe(
  { graph, inputs, threads }: SurveyContext,
  editor: GraphEditor,
): Promise<{ feeds: Values; values: Values }> {
  const { bytes, inputs: needed } = editor.build()
  const session = await InferenceSession.open({
    bytes,
    weightsFolder: graph.model.weightsFolder,
    threads,
    once: true,
  })
  const used = inputs.filter((input) => needed.includes(input.name))
  let failure: unknown
  try {
    for (const sizes of probeSizes(used)) {
      try {
        const feeds = probeFeeds(graph, used, sizes)
        return { feeds, values: await session.run(feeds) }
      } catch (error) {
        failure ??= error
      }
    }
  } finally {
    await session.close()
  }
  throw new QkError(
    'ERR_INFERENCE',
    `${graph.model.path} does not run on a synthetic batch: ${(failure as Error).message}`,
    { cause: failure, hint: `Its inputs are ${inputs.map((i) => `${i.name} [${i.shape}]`).join(', ')}.` },
  )
}

function resolve(
  graph: Graph,
  candidate: SiteCandidate,
  values: Values,
  batch: number,
): ResolvedSite | UnsupportedSite {
  const { product } = candidate
  const operator = candidate.fused?.node ?? product
  const refuse = (reason: string): UnsupportedSite => ({
    node: operator.name || operator.output[0],
    op: candidate.fused?.op ?? product.opType,
    reason,
  })
  const shapes = (name: string) => {
    const found = values[shapeName(name)]
    return found && Array.from(found.data as BigInt64Array, Number)
  }
  const typeName = (tensor: string) => values[firstName(tensor)].type
  const scalarValue = (name: string) => {
    const data = values[name] && tensorValues(values[name])
    return data?.length === 1 ? data[0] : undefined
  }
  const where = candidate.fused
    ? fusedPlacement(candidate.fused)
    : writtenOutPlacement(graph, candidate, shapes, scalarValue, batch)
  if ('reason' in where) return refuse(where.reason)
  const { query, key, productAxes } = where

  const operandScale = [...query.factors, ...key.factors].reduce(
    (scale, { name, divide }) => (divide ? scale / scalarValue(name)! : scale * scalarValue(name)!),
    product.opType === 'FusedMatMul' ? graph.float(product, 'alpha', 1) : 1,
  )
  const heads = headCount(query.axes, shapes(query.tensor)!, batch)
  const kvHeads = headCount(key.axes, shapes(key.tensor)!, batch)
  if (heads % kvHeads !== 0)
    return refuse(`${heads} query heads cannot be shared out over ${kvHeads} key heads`)
  const headDim = shapes(query.tensor)![query.axes.indexOf('dim')]
  const scores = values[candidate.softmaxInput]
  const pattern = patternAxes(graph, candidate, productAxes, shapes)
  if (!pattern && axesBeyondOne(scores.dims) > axesBeyondOne(shapes(product.output[0])!)) {
    return refuse('heads share an axis with positions in the product of its queries and keys')
  }
  if (graph.isStatic(key.tensor)) return refuse('its keys are stored, not computed from what the model reads')
  const scoreScale = stepsScale(graph, candidate, scalarValue)
  const rows = ({ tensor, axes }: CapturePoint) => ({
    tensor,
    length: axes.includes('pos') ? shapes(tensor)![axes.indexOf('pos')] : 1,
  })
  const cross = isCross(graph, rows(query), rows(key))
  const { fused } = candidate
  const uncovered = uncoveredTerms(graph, candidate, query.tensor, key.tensor)
  return {
    layer: 0,
    op: fused?.op ?? product.opType,
    node: operator.name || operator.output[0],
    heads,
    kvHeads,
    headDim,
    scale: operandScale * scoreScale,
    causal:
      fused?.causal ||
      (!cross && (looksCausal(scores, pattern, rows(key).length) || isStep(graph, candidate, shapes))),
    rotary: fused?.rotary || isRotary(graph, query.tensor),
    cross,
    ...(uncovered.length > 0 ? { uncovered } : {}),
    hooks: { q: '', k: '' },
    relativeError: Number.NaN,
    candidate,
    query: sideAt(query, shapes),
    key: sideAt(key, shapes),
    operandScale,
    productAxes,
    patternAxes: pattern,
    productGroups: productAxes.includes('group')
      ? shapes(product.output[0])![productAxes.indexOf('group')]
      : 1,
    queryType: typeName(candidate.fused?.q ?? product.input[0]),
    productType: typeName(product.output[0]),
    outputType: candidate.fused ? typeName(candidate.fused.node.output[0]) : 'float32',
    keyStride: 1,
  }
}

interface Placement {
  query: CapturePoint
  key: CapturePoint
  productAxes: ProductAxis[]
}

/** In the subgraph of an operator everything has its place. */
function fusedPlacement({ q, k }: FusedAttention): Placement {
  const at = (tensor: string): CapturePoint => ({
    tensor,
    axes: ['batch', 'head', 'pos', 'dim'],
    factors: [],
    repeats: 1,
  })
  return { query: at(q), key: at(k), productAxes: ['batch', 'head', 'queryPos', 'keyPos'] }
}

function writtenOutPlacement(
  graph: Graph,
  candidate: SiteCandidate,
  shapes: Shapes,
  scalarValue: (name: string) => number | undefined,
  batch: number,
): Placement | { reason: string } {
  const axes = productAxes(graph, candidate, shapes, batch)
  if ('reason' in axes) return axes
  const point = (side: OperandAxes): CapturePoint =>
    capturePoint(
      graph,
      candidate.product.input[side.operand],
      side.axes,
      side.operand === 0 ? candidate.left : candidate.right,
      shapes,
      (name) => scalarValue(name) !== undefined,
    )
  const query = point(axes.query)
  if (query.repeats !== 1) return { reason: 'its queries are repeated over heads' }
  return { query, key: point(axes.key), productAxes: axes.product }
}

function sideAt(
  { tensor, axes }: CapturePoint,
  shapes: (name: string) => readonly number[] | undefined,
): Side {
  const group = axes.indexOf('group')
  return { tensor, axes, groups: group < 0 ? 1 : shapes(tensor)![group] }
}

function headCount(axes: readonly Axis[], shape: readonly number[], batch: number): number {
  const heads = axes.reduce((n, axis, i) => (axis === 'head' || axis === 'group' ? n * shape[i] : n), 1)
  const fold = axes.indexOf('fold')
  return fold < 0 ? heads : shape[fold] / batch
}

/** The constant factor of a multiplication or division between the product and the softmax. */
function constantFactor(graph: Graph, node: NodeProto): { name: string; divide: boolean } | undefined {
  if (node.opType !== 'Mul' && node.opType !== 'Div') return undefined
  const side = graph.isStatic(node.input[1])
    ? 1
    : node.opType === 'Mul' && graph.isStatic(node.input[0])
      ? 0
      : -1
  return side < 0 ? undefined : { name: node.input[side], divide: node.opType === 'Div' }
}

/** What the steps after the product multiply q·k by, up to a softcap; what is added in between is left out. */
function stepsScale(
  graph: Graph,
  candidate: SiteCandidate,
  scalarValue: (name: string) => number | undefined,
): number {
  let scale = 1
  let beforeLast = 1
  for (const { node } of candidate.steps) {
    if (node.opType === 'Tanh') return beforeLast
    const factor = constantFactor(graph, node)
    const value = factor && scalarValue(factor.name)
    if (factor && value !== undefined) {
      beforeLast = scale
      scale = factor.divide ? scale / value : scale * value
    } else if (node.opType === 'Mul' || node.opType === 'Div') {
      return scale
    }
  }
  return scale
}

/**
 * Whether every later key is masked and no query from itself, in the first sequence (which has no padding). Keys of a
 * cache come before those of the run; a sliding window masks early keys too.
 */
function looksCausal(
  { dims, ...scores }: WireTensor,
  axes: readonly ProductAxis[] | undefined,
  keys: number,
): boolean {
  if (!axes) return false
  const axisOf = (axis: ProductAxis) => {
    const at = axes.indexOf(axis)
    return { size: dims[at], stride: dims.slice(at + 1).reduce((a, b) => a * b, 1) }
  }
  const [query, key] = [axisOf('queryPos'), axisOf('keyPos')]
  // Sinks stand behind the keys.
  const past = keys - query.size
  if (past < 0 || query.size < 2) return false
  const data = tensorValues({ dims, ...scores })
  const masked = (i: number, j: number) => data[i * query.stride + j * key.stride] <= MASKED_BELOW
  for (let i = 0; i < query.size; i++) {
    if (masked(i, i + past)) return false
    for (let j = i + past + 1; j < keys; j++) if (!masked(i, j)) return false
  }
  return true
}

/** A single query beside a cache: a step of a decoder, whose mask shows nothing. */
function isStep(graph: Graph, { product }: SiteCandidate, shapes: Shapes): boolean {
  const cached = graph.inputs.some(({ name }) => /past|cache/i.test(name))
  const [queries] = (shapes(product.output[0]) ?? []).slice(-2)
  return cached && queries === 1
}

const axesBeyondOne = (shape: readonly number[]) => shape.filter((size) => size > 1).length

function nameLayers(sites: ResolvedSite[]): void {
  const kindOf = (site: ResolvedSite): SiteKind => (site.cross ? 'cross' : site.causal ? 'dec' : 'enc')
  const several = new Set(sites.map(kindOf)).size > 1
  const counts = new Map<SiteKind, number>()
  for (const site of sites) {
    const kind = kindOf(site)
    const group = several ? kind : 'dec'
    site.layer = counts.get(group) ?? 0
    counts.set(group, site.layer + 1)
    if (several) site.kind = kind
    const prefix = `${several ? `${kind}.` : ''}blocks.${site.layer}.attn`
    site.hooks = site.rotary
      ? { q: `${prefix}.hook_rot_q`, k: `${prefix}.hook_rot_k` }
      : { q: `${prefix}.hook_q`, k: `${prefix}.hook_k` }
  }
}
