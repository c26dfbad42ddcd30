/**
 * The graph that capture runs: the part of the model that the requested heads need. It gathers the rows that terms
 * use, so that nothing else is computed or output.
 */

import type { Graph } from '../onnx/graph.js'
import { GraphEditor } from '../onnx/graph-editor.js'
import { ElementType } from '../onnx/node-writer.js'
import type { Axis } from '../sites/axes.js'
import { factorsOfScores } from '../sites/replay.js'
import type { ProductAxis, ResolvedSite, Side } from '../sites/site.js'
import { ATTENTION_CELLS, attentionCells } from './pattern-cells.js'
import { type Heads, rowGatherer, withoutOthers } from './rows.js'

export const QUERY_ROWS = 'qkspace.query_rows'
export const KEY_ROWS = 'qkspace.key_rows'

/** The requested heads of one site; all if a list is absent. */
export interface SiteRequest {
  site: ResolvedSite
  heads?: readonly number[]
  kvHeads?: readonly number[]
}

export interface CaptureGraph {
  bytes: Uint8Array
  /** The model's own inputs that are still needed. */
  inputs: string[]
  /** Outputs of each request. */
  outputs: CapturedOutput[]
  /** Whether the graph takes `ATTENTION_CELLS`. */
  attention: boolean
}

/** Names of the outputs with queries and keys, and the lengths of their last two axes. */
export interface CapturedOutput {
  q: string
  k: string
  /** Output of the factors of the scores, if they are not constant and were found in the graph. */
  factors?: string
  /** Output of the attention at the requested cells, [cells, heads], if the pattern was found in the graph. */
  attention?: string
  heads: number
  kvHeads: number
  headDim: number
}

/**
 * Builds the graph for chosen rows. It takes two more inputs, `QUERY_ROWS` and `KEY_ROWS`, int64 [n, 3]: batch index,
 * position along the query or key axis, and zero. Its outputs are [n, heads, d] and [n, kvHeads, d]; factors of the
 * queries' scores are [n, heads, 1]. With `attention` it also takes `ATTENTION_CELLS` and outputs the attention
 * there, [cells, heads], unless no pattern was found in the graph.
 */
export function captureGraph(
  graph: Graph,
  requests: readonly SiteRequest[],
  { attention = false }: { attention?: boolean } = {},
): CaptureGraph {
  const editor = new GraphEditor(graph)
  if (attention && requests.some(({ site }) => site.patternAxes)) {
    editor.input(ATTENTION_CELLS, ElementType.int64, ['qkspace.attention_cells.n', 4])
  }
  editor.input(QUERY_ROWS, ElementType.int64, ['qkspace.query_rows.n', 3])
  editor.input(KEY_ROWS, ElementType.int64, ['qkspace.key_rows.n', 3])
  const gather = rowGatherer(editor)
  return build(
    editor,
    requests,
    (side, heads, output) => {
      const rows = output.startsWith('qkspace.q/') ? QUERY_ROWS : KEY_ROWS
      return gather(side, heads, rows, output)
    },
    {
      factors: (site, heads, output) => {
        if (site.factors.kind !== 'rows') {
          return undefined
        }
        return gather(factorRows(editor, site), heads, QUERY_ROWS, output)
      },
      attention: attention
        ? (site, { chosen }, output) => attentionCells(editor, site, chosen, output)
        : undefined,
    },
  )
}

/** The factor of each query's scores as a captured side, whose feature axis has one entry. */
function factorRows(
  editor: GraphEditor,
  { candidate, patternAxes, productGroups, query }: ResolvedSite,
): Side {
  const axes = patternAxes!.map((axis): Axis => {
    return axis === 'queryPos' ? 'pos' : axis === 'keyPos' ? 'dim' : axis
  })
  const factors = editor.node('Cast', [factorsOfScores(editor, candidate)], { to: ElementType.float })
  // Keys whose factor is zero are masked, and do not show the factor of other keys.
  const counted = editor.node('Cast', [editor.node('Cast', [factors], { to: ElementType.bool })], {
    to: ElementType.float,
  })
  const sum = (tensor: string) => reduceSum(editor, tensor, axes.indexOf('dim'))
  const tensor = editor.node('Div', [sum(factors), sum(counted)])
  return { tensor, axes, groups: productGroups, others: query.others }
}

/** Sums along an axis and keeps it with size one. From opset 13 on, the axes are an input. */
function reduceSum(editor: GraphEditor, tensor: string, axis: number): string {
  return editor.graph.opset < 13
    ? editor.node('ReduceSum', [tensor], { axes: [axis], keepdims: 1 })
    : editor.node('ReduceSum', [tensor, editor.int64Constant([axis])], { keepdims: 1 })
}

/** Builds the graph for every row: its outputs are [batch, pos, heads, d] and [batch, pos, kvHeads, d]. */
export function fullCaptureGraph(
  graph: Graph,
  requests: readonly SiteRequest[],
  more?: MoreOutputs,
): CaptureGraph {
  const editor = new GraphEditor(graph)
  return build(
    editor,
    requests,
    (side, heads, output) => editor.node('Identity', [byRows(editor, side, heads)], {}, output),
    { more },
  )
}

/**
 * As `fullCaptureGraph`, but only with rows of tokens, and with the factors of the scores if they are not constant:
 * [batch, heads, queryPos, keyPos].
 */
export function tokenCaptureGraph(graph: Graph, requests: readonly SiteRequest[]): CaptureGraph {
  const editor = new GraphEditor(graph)
  return build(
    editor,
    requests,
    (side, heads, output) => {
      const rows = withoutOthers(editor, byRows(editor, side, heads), 1, side.others)
      return editor.node('Identity', [rows], {}, output)
    },
    {
      factors: ({ candidate, factors, patternAxes, query, key }, heads, output) => {
        if (factors.kind === 'constant' || !patternAxes) {
          return undefined
        }
        const own = factorsOfScores(editor, candidate)
        const all = scoreMatrix(editor, own, patternAxes, heads, `${output}/all`)
        const rows = withoutOthers(editor, withoutOthers(editor, all, 2, query.others), 3, key.others)
        return editor.node('Cast', [rows], { to: ElementType.float }, output)
      },
    },
  )
}

/** Adds further outputs. Returns whether the captured rows themselves are outputs too. */
export type MoreOutputs = (editor: GraphEditor, captured: readonly CapturedOutput[]) => boolean

/** Adds nodes that end in an output of the given name. */
type Capture = (side: Side, heads: Heads, output: string) => string

interface Extras {
  more?: MoreOutputs
  /** Adds the factors of scores that are not constant; undefined if there are none. */
  factors?: (site: ResolvedSite, heads: Heads, output: string) => string | undefined
  /** Adds the attention at chosen cells; undefined if the pattern was not found in the graph. */
  attention?: (site: ResolvedSite, heads: Heads, output: string) => string | undefined
}

function build(
  editor: GraphEditor,
  requests: readonly SiteRequest[],
  capture: Capture,
  { more, factors, attention }: Extras = {},
): CaptureGraph {
  const outputs = requests.map(({ site, heads, kvHeads }, index): CapturedOutput => {
    const queries = { count: site.heads, chosen: heads ?? range(site.heads) }
    const chosenKeys = (kvHeads ?? range(site.kvHeads)).map((h) => h * site.keyStride)
    const keys = { count: site.kvHeads * site.keyStride, chosen: chosenKeys }
    return {
      q: capture(site.query, queries, `qkspace.q/${index}`),
      k: capture(site.key, keys, `qkspace.k/${index}`),
      factors: factors?.(site, queries, `qkspace.factors/${index}`),
      attention: attention?.(site, queries, `qkspace.attention/${index}`),
      heads: queries.chosen.length,
      kvHeads: keys.chosen.length,
      headDim: site.headDim,
    }
  })
  if (!more || more(editor, outputs)) {
    for (const { q, k, factors: own, attention: cells } of outputs) {
      for (const name of [q, k, own, cells]) {
        if (name) {
          editor.output(name)
        }
      }
    }
  }
  const { bytes, inputs } = editor.build()
  const added = [QUERY_ROWS, KEY_ROWS, ATTENTION_CELLS]
  return {
    bytes,
    inputs: inputs.filter((name) => !added.includes(name)),
    outputs,
    attention: outputs.some((output) => output.attention),
  }
}

/** Scores or a pattern with axes in any order -> [batch, heads, queryPos, keyPos] of the chosen heads. */
export function scoreMatrix(
  editor: GraphEditor,
  tensor: string,
  axes: readonly ProductAxis[],
  { count, chosen }: Heads,
  output: string,
): string {
  let [name, own] = [tensor, [...axes]]
  if (own[0] === 'fold') {
    name = splitFold(editor, name, own.length, count)
    own = ['batch', 'head', ...own.slice(1)]
  }
  if (!own.includes('batch')) {
    name = unsqueezeFront(editor, name)
    own = ['batch', ...own]
  }
  const order: ProductAxis[] = ['batch', 'head', 'group', 'one', 'queryPos', 'keyPos']
  const perm = [...own.keys()].sort((a, b) => order.indexOf(own[a]) - order.indexOf(own[b]) || a - b)
  if (perm.some((from, to) => from !== to)) {
    name = editor.node('Transpose', [name], { perm })
  }
  if (own.length !== 4 || !own.includes('head')) {
    const shape = editor.node('Shape', [name])
    const ends = (from: number, to: number) =>
      editor.node('Slice', [shape, editor.int64Constant([from]), editor.int64Constant([to])])
    const sizes = [ends(0, 1), editor.int64Constant([count]), ends(own.length - 2, own.length)]
    name = editor.node('Reshape', [name, editor.node('Concat', sizes, { axis: 0 })])
  }
  const all = chosen.length === count && chosen.every((h, i) => h === i)
  if (!all) {
    name = editor.node('Gather', [name, editor.int64Constant(chosen)], { axis: 1 })
  }
  return editor.node('Identity', [name], {}, output)
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i)

/** Queries and keys of all heads of a site, [batch, pos, heads, d] and [batch, pos, kvHeads, d]. */
export function wholeRows(editor: GraphEditor, { query, key, heads, kvHeads, keyStride }: ResolvedSite) {
  const chosenKeys = range(kvHeads).map((h) => h * keyStride)
  return {
    q: byRows(editor, query, { count: heads, chosen: range(heads) }),
    k: byRows(editor, key, { count: kvHeads * keyStride, chosen: chosenKeys }),
  }
}

/** Axes in any order -> [batch, pos, heads, d] of the chosen heads. */
export function byRows(editor: GraphEditor, side: Side, { count, chosen }: Heads): string {
  let { tensor, axes } = withHeadAxis(editor, side, count)
  for (const missing of ['batch', 'pos'] as const) {
    if (!axes.includes(missing)) {
      tensor = unsqueezeFront(editor, tensor)
      axes = [missing, ...axes]
    }
  }
  const order: Axis[] = ['batch', 'pos', 'head', 'group', 'one', 'dim']
  const perm = axes
    .map((axis, i) => ({ i, rank: order.indexOf(axis) }))
    .sort((a, b) => a.rank - b.rank || a.i - b.i)
    .map(({ i }) => i)
  if (perm.some((from, to) => from !== to)) {
    tensor = editor.node('Transpose', [tensor], { perm })
  }
  if (axes.length !== 4 || !axes.includes('head')) {
    tensor = editor.node('Reshape', [tensor, editor.int64Constant([0, 0, count, -1])])
  }
  const all = chosen.length === count && chosen.every((h, i) => h === i)
  if (!all) {
    tensor = editor.node('Gather', [tensor, editor.int64Constant(chosen)], { axis: 2 })
  }
  return tensor
}

/** Splits a folded axis into batch and head. */
function withHeadAxis(
  editor: GraphEditor,
  { tensor, axes }: Side,
  heads: number,
): { tensor: string; axes: Axis[] } {
  if (axes[0] !== 'fold') {
    return { tensor, axes }
  }
  return { tensor: splitFold(editor, tensor, axes.length, heads), axes: ['batch', 'head', ...axes.slice(1)] }
}

/** [batch * heads, ...] of `rank` axes -> [batch, heads, ...] */
function splitFold(editor: GraphEditor, tensor: string, rank: number, heads: number): string {
  const rest = editor.node('Slice', [
    editor.node('Shape', [tensor]),
    editor.int64Constant([1]),
    editor.int64Constant([rank]),
  ])
  const shape = editor.node('Concat', [editor.int64Constant([-1, heads]), rest], { axis: 0 })
  return editor.node('Reshape', [tensor, shape])
}

function unsqueezeFront(editor: GraphEditor, tensor: string): string {
  return editor.graph.opset < 13
    ? editor.node('Unsqueeze', [tensor], { axes: [0] })
    : editor.node('Unsqueeze', [tensor, editor.int64Constant([0])])
}
