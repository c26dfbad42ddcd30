/**
 * Settles what the shape of a graph leaves open (which operand holds the queries, what each axis is, how
 * heads are grouped, what the scale is) by running a small synthetic batch and looking at concrete shapes.
 */

import { QkError } from '../../errors.js'
import { type ModelInput, PROBE_SIZES, probeFeeds } from '../inference/inputs.js'
import { InferenceSession, type WireTensor } from '../inference/session.js'
import { type Graph, GraphEditor } from '../onnx/graph.js'
import type { NodeProto } from '../onnx/onnx_pb.js'
import { type Axis, type CapturePoint, capturePoint } from './axes.js'
import type { SiteCandidate, UnsupportedSite } from './find.js'
import type { ProductAxis, ResolvedSite, SiteKind } from './site.js'
import { tensorValues } from './values.js'

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

/** Runs the probe and resolves every candidate, in topological order. Errors: ERR_INFERENCE. */
export async function surveySites(
  context: SurveyContext,
  candidates: readonly SiteCandidate[],
): Promise<Survey> {
  const { graph } = context
  const editor = new GraphEditor(graph)
  for (const candidate of candidates) requestProbe(editor, candidate)
  const { feeds, values } = await runProbe(context, editor)
  const sites: ResolvedSite[] = []
  const unsupported: UnsupportedSite[] = []
  for (const candidate of candidates) {
    const site = resolve(graph, candidate, values, feeds)
    if ('reason' in site) unsupported.push(site)
    else sites.push(site)
  }
  nameLayers(sites)
  return { sites, unsupported, feeds }
}

function requestProbe(editor: GraphEditor, candidate: SiteCandidate): void {
  const { product, steps, left, right } = candidate
  const shaped = new Set([...product.input, product.output[0], candidate.softmaxInput])
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
  editor.output(candidate.softmaxInput)
}

async function runProbe(
  { graph, inputs, threads }: SurveyContext,
  editor: GraphEditor,
): Promise<{ feeds: Values; values: Values }> {
  const { bytes, inputs: needed } = editor.build()
  const session = await InferenceSession.open({ bytes, weightsFolder: graph.model.weightsFolder, threads })
  const used = inputs.filter((input) => needed.includes(input.name))
  let failure: unknown
  try {
    for (const sizes of PROBE_SIZES) {
      try {
        const feeds = probeFeeds(graph, used, sizes)
        return { feeds, values: await session.run(feeds) }
      } catch (error) {
        failure = error
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
  feeds: Values,
): ResolvedSite | UnsupportedSite {
  const { product, softmax } = candidate
  const refuse = (reason: string): UnsupportedSite => ({
    node: product.name || product.output[0],
    op: product.opType,
    reason,
  })
  const shapes = (name: string) => {
    const found = values[shapeName(name)]
    return found && Array.from(found.data as BigInt64Array, Number)
  }
  const scalarValue = (name: string) => {
    const data = values[name] && tensorValues(values[name])
    return data?.length === 1 ? data[0] : undefined
  }
  const batch = Object.values(feeds)[0]?.dims[0] ?? 1
  const axes = productAxes(graph, candidate, shapes, batch)
  if ('reason' in axes) return refuse(axes.reason)

  const point = (side: OperandAxes): CapturePoint =>
    capturePoint(
      graph,
      product.input[side.operand],
      side.axes,
      side.operand === 0 ? candidate.left : candidate.right,
      shapes,
      (name) => scalarValue(name) !== undefined,
    )
  const query = point(axes.query)
  const key = point(axes.key)
  if (query.repeats !== 1) return refuse('its queries are repeated over heads')

  const operandScale = [...query.factors, ...key.factors].reduce(
    (scale, { name, divide }) => (divide ? scale / scalarValue(name)! : scale * scalarValue(name)!),
    1,
  )
  const heads = headCount(query.axes, shapes(query.tensor)!)
  const kvHeads = headCount(key.axes, shapes(key.tensor)!)
  if (heads % kvHeads !== 0)
    return refuse(`${heads} query heads cannot be shared out over ${kvHeads} key heads`)
  const headDim = shapes(query.tensor)![query.axes.indexOf('dim')]
  const scores = values[candidate.softmaxInput]
  const scoreScale = stepsScale(graph, candidate, scalarValue)
  const cross = isCross(graph, query.tensor, key.tensor)
  return {
    layer: 0,
    op: product.opType,
    node: product.name || product.output[0],
    heads,
    kvHeads,
    headDim,
    scale: operandScale * scoreScale,
    causal: !cross && looksCausal(scores),
    rotary: isRotary(graph, query.tensor),
    cross,
    hooks: { q: '', k: '' },
    relativeError: Number.NaN,
    candidate: { ...candidate, softmax },
    query: { tensor: query.tensor, axes: query.axes },
    key: { tensor: key.tensor, axes: key.axes },
    operandScale,
    productAxes: axes.product,
    keyStride: 1,
  }
}

interface OperandAxes {
  operand: 0 | 1
  axes: Axis[]
}

interface ProductAxes {
  query: OperandAxes
  key: OperandAxes
  product: ProductAxis[]
}

function productAxes(
  graph: Graph,
  candidate: SiteCandidate,
  shapes: (name: string) => number[] | undefined,
  batch: number,
): ProductAxes | { reason: string } {
  const { product, softmax } = candidate
  const outShape = shapes(product.output[0])
  const softmaxShape = shapes(candidate.softmaxInput)
  if (!outShape || !softmaxShape) return { reason: 'the probe did not reach it' }
  const softmaxAxis = graph.int(softmax, 'axis', graph.opset < 13 ? 1 : -1)
  const keyAxis = axisInProduct(
    candidate,
    shapes,
    graph,
    softmaxAxis < 0 ? softmaxAxis + softmaxShape.length : softmaxAxis,
  )
  if (keyAxis === undefined) return { reason: 'the axis of its softmax could not be followed to its product' }
  return product.opType === 'Einsum'
    ? einsumAxes(graph, product, outShape, keyAxis, batch)
    : matmulAxes(product, shapes, outShape, keyAxis, batch)
}

/** The axis of the product's output that the softmax normalises over. */
function axisInProduct(
  candidate: SiteCandidate,
  shapes: (name: string) => number[] | undefined,
  graph: Graph,
  softmaxAxis: number,
): number | undefined {
  let axis = softmaxAxis
  for (const { node, chain } of candidate.steps.toReversed()) {
    const to = shapes(node.output[0])
    const from =
      shapes(node.input[chain]) ??
      (node.input[chain] === candidate.product.output[0] ? shapes(candidate.product.output[0]) : undefined)
    if (!to || !from) return undefined
    if (node.opType === 'Transpose') {
      axis = (graph.ints(node, 'perm') ?? from.map((_, i) => from.length - 1 - i))[axis]
    } else if (['Reshape', 'Squeeze', 'Unsqueeze', 'Flatten'].includes(node.opType)) {
      const after = to.slice(axis + 1).reduce((a, b) => a * b, 1)
      let inner = 1
      let found: number | undefined
      for (let i = from.length - 1; i >= 0; i--) {
        if (inner === after && from[i] === to[axis]) {
          found = i
          break
        }
        inner *= from[i]
      }
      if (found === undefined) return undefined
      axis = found
    } else {
      axis += from.length - to.length
      if (axis < 0) return undefined
    }
  }
  return axis
}

/** Leading axes of scores: none, batch, batch and head, or batch, key head and query head within its group. */
function leadingAxes(shape: readonly number[], batch: number): ('batch' | 'head' | 'group')[] | undefined {
  if (shape.length === 0) return []
  if (shape.length === 1) return shape[0] === batch ? ['batch'] : undefined
  if (shape.length === 2) return ['batch', 'head']
  if (shape.length === 3) return ['batch', 'head', 'group']
  return undefined
}

function matmulAxes(
  product: NodeProto,
  shapes: (name: string) => number[] | undefined,
  outShape: number[],
  keyAxis: number,
  batch: number,
): ProductAxes | { reason: string } {
  const rank = outShape.length
  const lead = leadingAxes(outShape.slice(0, -2), batch)
  if (!lead) return { reason: `its heads are folded into the batch axis, ${outShape.join(' x ')}` }
  if (keyAxis < rank - 2) return { reason: 'its softmax does not run over the keys of one query' }
  const keyOperand = keyAxis === rank - 1 ? 1 : 0
  const side = (operand: 0 | 1): OperandAxes | undefined => {
    const shape = shapes(product.input[operand])
    if (!shape || shape.length > rank || shape.length < 2) return undefined
    const leading = lead.slice(lead.length - (shape.length - 2)) as Axis[]
    // An operand that is broadcast over a leading axis has size one there.
    const own = leading.map((axis, i) => (shape[i] === 1 && axis === 'group' ? 'one' : axis))
    return { operand, axes: operand === 0 ? [...own, 'pos', 'dim'] : [...own, 'dim', 'pos'] }
  }
  const left = side(0)
  const right = side(1)
  if (!left || !right) return { reason: 'the ranks of its operands do not match' }
  return {
    query: keyOperand === 1 ? left : right,
    key: keyOperand === 1 ? right : left,
    product: [
      ...lead,
      ...(keyOperand === 1 ? (['queryPos', 'keyPos'] as const) : (['keyPos', 'queryPos'] as const)),
    ],
  }
}

function einsumAxes(
  graph: Graph,
  product: NodeProto,
  outShape: number[],
  keyAxis: number,
  batch: number,
): ProductAxes | { reason: string } {
  const equation = (graph.string(product, 'equation') ?? '').replaceAll(' ', '')
  const match = /^([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)$/.exec(equation)
  if (!match) return { reason: `the Einsum equation "${equation}" is not of the form ab,bc->ac` }
  const [, left, right, out] = match
  const keyLetter = out[keyAxis]
  const keyOperand = right.includes(keyLetter) && !left.includes(keyLetter) ? 1 : 0
  const [queryLetters, keyLetters] = keyOperand === 1 ? [left, right] : [right, left]
  const contracted = [...left].filter((l) => right.includes(l) && !out.includes(l))
  const own = [...queryLetters].filter((l) => !keyLetters.includes(l))
  if (contracted.length !== 1 || own.length > 2) {
    return { reason: `the Einsum equation "${equation}" does not contract one axis of queries and keys` }
  }
  const shared = [...out].filter((l) => left.includes(l) && right.includes(l))
  const meaning = new Map<string, Axis>([[contracted[0], 'dim']])
  shared.forEach((letter, i) => {
    meaning.set(letter, i === 0 && outShape[out.indexOf(letter)] === batch ? 'batch' : 'head')
  })
  // Queries grouped over a key head bring one more axis of their own: [.., group, pos] in output order.
  const ownInOrder = [...out].filter((l) => own.includes(l))
  const queryPos = ownInOrder.at(-1)
  for (const letter of ownInOrder) meaning.set(letter, letter === queryPos ? 'pos' : 'group')
  meaning.set(keyLetter, 'pos')
  const axesOf = (letters: string) => [...letters].map((l) => meaning.get(l)!)
  const productAxis = (letter: string): ProductAxis =>
    letter === keyLetter ? 'keyPos' : letter === queryPos ? 'queryPos' : (meaning.get(letter) as ProductAxis)
  return {
    query: { operand: keyOperand === 1 ? 0 : 1, axes: axesOf(queryLetters) },
    key: { operand: keyOperand, axes: axesOf(keyLetters) },
    product: [...out].map(productAxis),
  }
}

function headCount(axes: readonly Axis[], shape: readonly number[]): number {
  return axes.reduce((n, axis, i) => (axis === 'head' || axis === 'group' ? n * shape[i] : n), 1)
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

/** What the steps after the product multiply q·k by, before anything is added; a softcap is left out. */
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
    } else if (['Add', 'Sub', 'Where', 'Max', 'Min', 'Mul', 'Div', 'Sum'].includes(node.opType)) {
      return scale
    }
  }
  return scale
}

/** Below this a score is masked: exporters use -10000, the type's lowest number, or minus infinity. */
export const MASKED_BELOW = -5000

/** Whether every later key is masked and no earlier one, in the first sequence (which has no padding). */
function looksCausal(scores: WireTensor): boolean {
  const [queries, keys] = scores.dims.slice(-2)
  if (queries !== keys || keys < 2) return false
  const data = tensorValues(scores)
  for (let i = 0; i < queries; i++) {
    for (let j = 0; j < keys; j++) {
      if (data[i * keys + j] <= MASKED_BELOW !== j > i) return false
    }
  }
  return true
}

const PROJECTIONS = new Set([
  'MatMul',
  'Gemm',
  'MatMulNBits',
  'MatMulInteger',
  'Conv',
  'QLinearMatMul',
  'Einsum',
])
const MAX_ANCESTORS = 64

/** The nodes between a captured tensor and the projections behind it, and what those projected. */
function ancestry(graph: Graph, tensor: string): { between: NodeProto[]; sources: Set<string> } {
  const between: NodeProto[] = []
  const sources = new Set<string>()
  const seen = new Set<string>()
  for (let front = [tensor]; front.length > 0 && between.length < MAX_ANCESTORS; ) {
    const next: string[] = []
    for (const name of front) {
      if (seen.has(name) || graph.isStatic(name)) continue
      seen.add(name)
      const node = graph.producers.get(name)
      if (!node) continue
      const inputs = node.input.filter((input) => input !== '')
      if (PROJECTIONS.has(node.opType)) {
        for (const input of inputs) if (!graph.isStatic(input)) sources.add(beforeReshaping(graph, input))
      } else {
        between.push(node)
        next.push(...inputs)
      }
    }
    front = next
  }
  return { between, sources }
}

const RESHAPING = ['Cast', 'Identity', 'Reshape', 'Transpose', 'Dropout', 'Unsqueeze', 'Squeeze', 'Flatten']

function beforeReshaping(graph: Graph, tensor: string): string {
  let name = tensor
  for (;;) {
    const node = graph.producers.get(name)
    if (!node || !RESHAPING.includes(node.opType)) return name
    name = node.input[0]
  }
}

/** Queries and keys of cross attention are projections of different things. */
function isCross(graph: Graph, query: string, key: string): boolean {
  const sources = ancestry(graph, query).sources
  const others = ancestry(graph, key).sources
  return sources.size > 0 && others.size > 0 && [...sources].every((s) => !others.has(s))
}

/** Rotation by position: halves or pairs are negated and swapped between the projection and the product. */
function isRotary(graph: Graph, tensor: string): boolean {
  const ops = new Set(ancestry(graph, tensor).between.map((node) => node.opType))
  if (ops.has('RotaryEmbedding')) return true
  return ops.has('Mul') && ops.has('Concat') && (ops.has('Neg') || ops.has('Sub'))
}

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
