/**
 * Resolves one candidate with the shapes of the probe: which operand holds the queries, what each axis is, how heads
 * are grouped, what the scale is.
 */

import type { FusedAttention, SiteCandidate, UnsupportedSite } from '../candidate.js'
import type { Graph } from '../onnx/graph.js'
import type { NodeProto } from '../onnx/proto/onnx_pb.js'
import { type Axis, type CapturePoint, capturePoint, type Shapes } from './axes.js'
import { isStep, looksCausal } from './causality.js'
import { givenFactors, stepsScale } from './constant-factors.js'
import { type OperandAxes, patternAxes, productAxes } from './product-axes.js'
import { scoreFactors, shownScale } from './scale.js'
import { isCross, isRotary, uncoveredTerms } from './search/ancestry.js'
import type { OtherRows, ProductAxis, ResolvedSite, Side } from './site.js'
import type { Probe } from './site-probe.js'
import { otherRows } from './token-axes.js'

/**
 * The site without its layer and its error, or the reason why it cannot be captured. With `tokens`, rows of self
 * attention must be those of the tokens.
 */
export function resolveSite(
  graph: Graph,
  candidate: SiteCandidate,
  probe: Probe,
  { tokens }: { tokens: boolean },
): ResolvedSite | UnsupportedSite {
  const { shapes, typeName, scalar, masks: masksOf, sizes } = probe.values
  const { sequences: batch } = sizes
  const { product } = candidate
  const operator = candidate.fused?.node ?? product
  const refuse = (reason: string): UnsupportedSite => ({
    node: operator.name || operator.output[0],
    op: candidate.fused?.op ?? product.opType,
    reason,
  })
  const where = candidate.fused
    ? fusedPlacement(candidate.fused)
    : writtenOutPlacement(graph, candidate, shapes, scalar, batch)
  if ('reason' in where) {
    return refuse(where.reason)
  }
  const { query, key, productAxes } = where

  const operandScale = constantScale(graph, product, [...query.factors, ...key.factors], scalar)
  const heads = headCount(query.axes, shapes(query.tensor)!, batch)
  const kvHeads = headCount(key.axes, shapes(key.tensor)!, batch)
  if (heads % kvHeads !== 0) {
    return refuse(`${heads} query heads cannot be shared out over ${kvHeads} key heads`)
  }
  const headDim = shapes(query.tensor)![query.axes.indexOf('dim')]
  const masks = masksOf(candidate)
  const pattern = patternAxes(graph, candidate, productAxes, shapes)
  if (!pattern && axesBeyondOne(masks.dims) > axesBeyondOne(shapes(product.output[0])!)) {
    return refuse('heads share an axis with positions in the product of its queries and keys')
  }
  if (graph.isStatic(key.tensor)) {
    return refuse('its keys are stored, not computed from what the model reads')
  }
  const rows = ({ tensor, axes }: CapturePoint) => ({
    tensor,
    length: sizeAlong('pos', axes, shapes(tensor)!),
  })
  const cross = isCross(graph, rows(query), rows(key))
  const others = tokens && !cross ? rowsBesideTokens(where, probe) : { query: 0, key: 0 }
  if ('reason' in others) {
    return refuse(others.reason)
  }
  const sinks = sinkColumns(candidate, shapes)
  const productGroups = sizeAlong('group', productAxes, shapes(product.output[0])!)
  const runs = [probe.values, probe.more.positions].filter((run) => run !== undefined)
  const factors = scoreFactors(
    runs.map((run) => ({ factors: run.factors(candidate), masks: run.masks(candidate) })),
    pattern,
    {
      heads,
      groups: productGroups,
      firstKey: sinks.before,
      exact: stepsScale(graph, candidate, scalar),
      // Only the entries that a multiplicative mask keeps matter, and their factors are the same in every run.
      given: givenFactors(graph, candidate).some((name) => !axesOfScores(shapes(name)!)),
    },
  )
  const { fused } = candidate
  const altered = candidate.steps
    .filter(({ node }) => ALTERING.has(node.opType))
    .map(({ node }) => node.name || node.output[0])
  const uncovered = uncoveredTerms(graph, candidate, query.tensor, key.tensor)
  return {
    layer: 0,
    op: fused?.op ?? product.opType,
    node: operator.name || operator.output[0],
    heads,
    kvHeads,
    headDim,
    scale: shownScale(factors, operandScale),
    causal:
      fused?.causal ||
      (!cross &&
        (looksCausal(masks, pattern, { keys: rows(key).length, first: sinks.before }) ||
          isStep(graph, candidate, shapes))),
    rotary: fused?.rotary || isRotary(graph, query.tensor),
    cross,
    ...(uncovered.length > 0 ? { uncovered } : {}),
    ...(altered.length > 0 ? { altered } : {}),
    hooks: { q: '', k: '' },
    relativeError: Number.NaN,
    candidate,
    query: sideAt(query, shapes, others.query),
    key: sideAt(key, shapes, others.key),
    operandScale,
    factors,
    sinks,
    productAxes,
    patternAxes: pattern,
    productGroups,
    queryType: typeName(candidate.fused?.q ?? product.input[0]),
    productType: typeName(product.output[0]),
    outputType: candidate.fused ? typeName(candidate.fused.node.output[0]) : 'float32',
    keyStride: 1,
  }
}

/** Steps that change scores in other ways than scaling, masking, capping or adding. */
const ALTERING = new Set(['QuantizeLinear', 'Clip', 'Max', 'Min'])

interface Placement {
  query: CapturePoint
  key: CapturePoint
  productAxes: ProductAxis[]
}

/** Placement in the subgraph of a fused operator, whose axes are known. */
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
  if ('reason' in axes) {
    return axes
  }
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
  if (query.repeats !== 1) {
    return { reason: 'its queries are repeated over heads' }
  }
  return { query, key: point(axes.key), productAxes: axes.product }
}

/**
 * The constant factor of the product of queries and keys, from constants between the points of capture and the
 * product.
 */
function constantScale(
  graph: Graph,
  product: NodeProto,
  factors: CapturePoint['factors'],
  scalar: (name: string) => number | undefined,
): number {
  return factors.reduce(
    (scale, { name, divide }) => (divide ? scale / scalar(name)! : scale * scalar(name)!),
    ['FusedMatMul', 'Gemm'].includes(product.opType) ? graph.float(product, 'alpha', 1) : 1,
  )
}

/** Number of rows of each side that are not tokens, or the reason why that is not known. */
function rowsBesideTokens(
  { query, key }: Placement,
  probe: Probe,
): { query: number; key: number } | { reason: string } {
  const ofQuery = otherRows(query, probe, 'queries')
  if (typeof ofQuery !== 'number') {
    return ofQuery
  }
  const ofKey = otherRows(key, probe, 'keys')
  return typeof ofKey === 'number' ? { query: ofQuery, key: ofKey } : ofKey
}

/** Columns of the softmax before and after the keys. A Concat adds them, as for sinks. */
function sinkColumns({ steps }: SiteCandidate, shapes: Shapes): OtherRows {
  const sinks = { before: 0, after: 0 }
  for (const { node, chain } of steps) {
    if (node.opType !== 'Concat') {
      continue
    }
    const [own, all] = [shapes(node.input[chain])!, shapes(node.output[0])!]
    const axis = all.findIndex((size, i) => size !== own[i])
    node.input.forEach((name, i) => {
      if (i !== chain && axis >= 0) {
        sinks[i < chain ? 'before' : 'after'] += shapes(name)![axis]
      }
    })
  }
  return sinks
}

/** The place of one side. `others` of its rows are not tokens; their positions are determined later. */
function sideAt({ tensor, axes }: CapturePoint, shapes: Shapes, others: number): Side {
  const groups = sizeAlong('group', axes, shapes(tensor)!)
  return { tensor, axes, groups, others: { before: others, after: 0 } }
}

/** Size of an axis; 1 if there is no such axis. */
function sizeAlong<A extends Axis | ProductAxis>(
  axis: A,
  axes: readonly A[],
  shape: readonly number[],
): number {
  const at = axes.indexOf(axis)
  return at < 0 ? 1 : shape[at]
}

function headCount(axes: readonly Axis[], shape: readonly number[], batch: number): number {
  const heads = axes.reduce((n, axis, i) => (axis === 'head' || axis === 'group' ? n * shape[i] : n), 1)
  const fold = axes.indexOf('fold')
  return fold < 0 ? heads : shape[fold] / batch
}

/** Whether a factor has the last two axes of scores, as a mask does. */
const axesOfScores = (shape: readonly number[]) => shape.slice(-2).filter((size) => size > 1).length === 2

const axesBeyondOne = (shape: readonly number[]) => shape.filter((size) => size > 1).length
