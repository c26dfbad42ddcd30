/**
 * The graph that capture runs: the model cut down to what the requested heads need, with the rows that
 * terms use gathered inside, so that nothing else is computed or leaves it.
 */

import { TO_THE_END } from '../fused/fused-operator.js'
import type { Graph } from '../onnx/graph.js'
import { GraphEditor } from '../onnx/graph-editor.js'
import { ElementType } from '../onnx/node-writer.js'
import type { Axis } from '../sites/axes.js'
import { factorsOfScores } from '../sites/replay.js'
import type { OtherRows, ProductAxis, ResolvedSite, Side } from '../sites/site.js'

export const QUERY_ROWS = 'qkspace.query_rows'
export const KEY_ROWS = 'qkspace.key_rows'

/** The heads that are wanted of one site; all when a list is absent. */
export interface SiteRequest {
  site: ResolvedSite
  heads?: readonly number[]
  kvHeads?: readonly number[]
}

export interface CaptureGraph {
  bytes: Uint8Array
  /** The model's own inputs that are still needed. */
  inputs: string[]
  /** Per request. */
  outputs: CapturedOutput[]
}

/** Names of the outputs with queries and keys, and the lengths of their last two axes. */
export interface CapturedOutput {
  q: string
  k: string
  /** Output of the factors of the scores, where they are no constants and could be followed. */
  factors?: string
  heads: number
  kvHeads: number
  headDim: number
}

/**
 * Builds the graph for chosen rows. It takes two more inputs, `QUERY_ROWS` and `KEY_ROWS`, int64 [n, 3]:
 * batch index, position along the query or key axis, and zero. Its outputs are [n, heads, d] and
 * [n, kvHeads, d]; factors of the queries' scores are [n, heads, 1].
 */
export function captureGraph(graph: Graph, requests: readonly SiteRequest[]): CaptureGraph {
  const editor = new GraphEditor(graph)
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
        if (site.factors.kind !== 'rows') return undefined
        return gather(factorRows(editor, site), heads, QUERY_ROWS, output)
      },
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
  // Keys that a factor of zero masks tell nothing of the others.
  const counted = editor.node('Cast', [editor.node('Cast', [factors], { to: ElementType.bool })], {
    to: ElementType.float,
  })
  const sum = (tensor: string) => reduceSum(editor, tensor, axes.indexOf('dim'))
  const tensor = editor.node('Div', [sum(factors), sum(counted)])
  return { tensor, axes, groups: productGroups, others: query.others }
}

/** Sums along an axis, which stays with one entry; axes are an input from opset 13 on. */
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
 * As `fullCaptureGraph`, without the rows that are no tokens, and with the factors of the scores, where they are no
 * constants: [batch, heads, queryPos, keyPos].
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
        if (factors.kind === 'constant' || !patternAxes) return undefined
        const own = factorsOfScores(editor, candidate)
        const all = scoreMatrix(editor, own, patternAxes, heads, `${output}/all`)
        const rows = withoutOthers(editor, withoutOthers(editor, all, 2, query.others), 3, key.others)
        return editor.node('Cast', [rows], { to: ElementType.float }, output)
      },
    },
  )
}

/** The rows of the tokens along an axis. */
export function withoutOthers(
  editor: GraphEditor,
  tensor: string,
  axis: number,
  { before, after }: OtherRows,
): string {
  if (before === 0 && after === 0) return tensor
  const bounds = [before, after > 0 ? -after : TO_THE_END, axis]
  return editor.node('Slice', [tensor, ...bounds.map((bound) => editor.int64Constant([bound]))])
}

/** Asks for further outputs; tells whether the captured rows themselves are to leave the graph. */
export type MoreOutputs = (editor: GraphEditor, captured: readonly CapturedOutput[]) => boolean

/** The heads to take of one side: their indices along the head axis, out of how many. */
export interface Heads {
  count: number
  chosen: readonly number[]
}

/** Adds nodes that end in an output of the given name. */
type Capture = (side: Side, heads: Heads, output: string) => string

interface Extras {
  more?: MoreOutputs
  /** Adds the factors of scores that are no constants; undefined where there are none. */
  factors?: (site: ResolvedSite, heads: Heads, output: string) => string | undefined
}

function build(
  editor: GraphEditor,
  requests: readonly SiteRequest[],
  capture: Capture,
  { more, factors }: Extras = {},
): CaptureGraph {
  const outputs = requests.map(({ site, heads, kvHeads }, index): CapturedOutput => {
    const queries = { count: site.heads, chosen: heads ?? range(site.heads) }
    const chosenKeys = (kvHeads ?? range(site.kvHeads)).map((h) => h * site.keyStride)
    const keys = { count: site.kvHeads * site.keyStride, chosen: chosenKeys }
    return {
      q: capture(site.query, queries, `qkspace.q/${index}`),
      k: capture(site.key, keys, `qkspace.k/${index}`),
      factors: factors?.(site, queries, `qkspace.factors/${index}`),
      heads: queries.chosen.length,
      kvHeads: keys.chosen.length,
      headDim: site.headDim,
    }
  })
  if (!more || more(editor, outputs)) {
    for (const { q, k, factors: own } of outputs) {
      for (const name of [q, k, own]) if (name) editor.output(name)
    }
  }
  const { bytes, inputs } = editor.build()
  return { bytes, inputs: inputs.filter((name) => name !== QUERY_ROWS && name !== KEY_ROWS), outputs }
}

/**
 * Gathers rows from where they lie, whatever the order of the axes: an index for every (row, head), so that
 * only what is wanted is moved. Transposing first would move every position of every layer.
 */
export function rowGatherer(editor: GraphEditor) {
  const indices = new Map<string, string>()
  return (side: Side, heads: Heads, rows: string, output?: string): string => {
    let { tensor, axes } = side
    if (axes.at(-1) !== 'dim') {
      const perm = [...axes.keys()].filter((i) => axes[i] !== 'dim')
      perm.push(axes.indexOf('dim'))
      tensor = editor.node('Transpose', [tensor], { perm })
      axes = perm.map((i) => axes[i])
    }
    const leading = axes.slice(0, -1)
    const { groups } = side
    const key = JSON.stringify([rows, leading, groups, heads, side.others])
    let index = indices.get(key)
    if (!index) {
      const column: Partial<Record<Axis, number>> = { batch: 0, fold: 0, pos: 1 }
      const columns = leading.map((axis) => column[axis] ?? 2)
      const place: Partial<Record<Axis, (head: number) => number>> = {
        head: (head) => Math.floor(head / groups),
        group: (head) => head % groups,
        fold: (head) => head,
        pos: () => side.others.before,
      }
      const perHead = heads.chosen.flatMap((head) => leading.map((axis) => place[axis]?.(head) ?? 0))
      const picked = editor.node('Gather', [rows, editor.int64Constant(columns)], { axis: 1 })
      const perRow = timesHeads(editor, picked, leading, heads.count)
      const wide = editor.node('Reshape', [perRow, editor.int64Constant([-1, 1, leading.length])])
      const offsets = editor.int64Constant(perHead, [1, heads.chosen.length, leading.length])
      index = editor.node('Add', [wide, offsets])
      indices.set(key, index)
    }
    return editor.node('GatherND', [tensor, index], {}, output)
  }
}

/** Columns of a folded axis hold batch indices: of `heads` rows each. [n, axes] -> [n, axes] */
export function timesHeads(
  editor: GraphEditor,
  indices: string,
  axes: readonly (Axis | ProductAxis)[],
  heads: number,
): string {
  if (!axes.includes('fold')) return indices
  const factors = axes.map((axis) => (axis === 'fold' ? heads : 1))
  return editor.node('Mul', [indices, editor.int64Constant(factors)])
}

/** Scores or a pattern, of axes in whatever order -> [batch, heads, queryPos, keyPos] of the chosen heads. */
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
  if (perm.some((from, to) => from !== to)) name = editor.node('Transpose', [name], { perm })
  if (own.length !== 4 || !own.includes('head')) {
    const shape = editor.node('Shape', [name])
    const ends = (from: number, to: number) =>
      editor.node('Slice', [shape, editor.int64Constant([from]), editor.int64Constant([to])])
    const sizes = [ends(0, 1), editor.int64Constant([count]), ends(own.length - 2, own.length)]
    name = editor.node('Reshape', [name, editor.node('Concat', sizes, { axis: 0 })])
  }
  const all = chosen.length === count && chosen.every((h, i) => h === i)
  if (!all) name = editor.node('Gather', [name, editor.int64Constant(chosen)], { axis: 1 })
  return editor.node('Identity', [name], {}, output)
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i)

/** Axes in whatever order -> [batch, pos, heads, d] of the chosen heads. */
function byRows(editor: GraphEditor, side: Side, { count, chosen }: Heads): string {
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
  if (perm.some((from, to) => from !== to)) tensor = editor.node('Transpose', [tensor], { perm })
  if (axes.length !== 4 || !axes.includes('head')) {
    tensor = editor.node('Reshape', [tensor, editor.int64Constant([0, 0, count, -1])])
  }
  const all = chosen.length === count && chosen.every((h, i) => h === i)
  if (!all) tensor = editor.node('Gather', [tensor, editor.int64Constant(chosen)], { axis: 2 })
  return tensor
}

/** Batch and head apart. */
function withHeadAxis(
  editor: GraphEditor,
  { tensor, axes }: Side,
  heads: number,
): { tensor: string; axes: Axis[] } {
  if (axes[0] !== 'fold') return { tensor, axes }
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
