/**
 * The graph that capture runs: the model cut down to what the requested heads need, with the rows that
 * terms use gathered inside, so that nothing else is computed or leaves it.
 */

import { type Graph, GraphEditor } from './onnx/graph.js'
import type { Axis } from './sites/axes.js'
import type { ResolvedSite, Side } from './sites/site.js'

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
  /** Names of the outputs with queries and keys, per request. */
  outputs: { q: string; k: string }[]
}

/**
 * Builds the graph for chosen rows. It takes two more inputs, `QUERY_ROWS` and `KEY_ROWS`, int64 [n, 2]:
 * pairs of batch index and position along the query or key axis. Its outputs are [n, heads, d] and
 * [n, kvHeads, d].
 */
export function captureGraph(graph: Graph, requests: readonly SiteRequest[]): CaptureGraph {
  const editor = new GraphEditor(graph)
  editor.int64Input(QUERY_ROWS, ['qkspace.query_rows.n', 2])
  editor.int64Input(KEY_ROWS, ['qkspace.key_rows.n', 2])
  return build(editor, requests, (tensor, rows, output) =>
    editor.node('GatherND', [tensor, rows], {}, output),
  )
}

/**
 * Builds the graph for every row: its outputs are [batch, pos, heads, d] and [batch, pos, kvHeads, d],
 * and the tensors named in `also`.
 */
export function fullCaptureGraph(
  graph: Graph,
  requests: readonly SiteRequest[],
  also: readonly string[],
): CaptureGraph {
  const editor = new GraphEditor(graph)
  for (const name of also) editor.output(name)
  return build(editor, requests, (tensor, _rows, output) => editor.node('Identity', [tensor], {}, output))
}

/** Turns [batch, pos, heads, d] into an output of the given name. */
type Finish = (tensor: string, rows: string, output: string) => string

function build(editor: GraphEditor, requests: readonly SiteRequest[], finish: Finish): CaptureGraph {
  const outputs = requests.map(({ site, heads, kvHeads }, index) => {
    const keys =
      site.keyStride === 1 ? kvHeads : (kvHeads ?? range(site.kvHeads)).map((h) => h * site.keyStride)
    return {
      q: finish(byRows(editor, site.query, site.heads, heads), QUERY_ROWS, `qkspace.q/${index}`),
      k: finish(
        byRows(editor, site.key, site.kvHeads * site.keyStride, keys),
        KEY_ROWS,
        `qkspace.k/${index}`,
      ),
    }
  })
  for (const { q, k } of outputs) {
    editor.output(q)
    editor.output(k)
  }
  const { bytes, inputs } = editor.build()
  return { bytes, inputs: inputs.filter((name) => name !== QUERY_ROWS && name !== KEY_ROWS), outputs }
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i)

/** Axes in whatever order -> [batch, pos, heads, d] of the chosen heads. */
function byRows(
  editor: GraphEditor,
  side: Side,
  headCount: number,
  heads: readonly number[] | undefined,
): string {
  let { tensor, axes } = side
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
  const chosen = heads && heads.length < headCount ? heads : undefined
  if (axes.length !== 4 || !axes.includes('head')) {
    tensor = editor.node('Reshape', [tensor, editor.int64Constant([0, 0, headCount, -1])])
  }
  if (chosen) tensor = editor.node('Gather', [tensor, editor.int64Constant(chosen)], { axis: 2 })
  return tensor
}

function unsqueezeFront(editor: GraphEditor, tensor: string): string {
  return editor.graph.opset < 13
    ? editor.node('Unsqueeze', [tensor], { axes: [0] })
    : editor.node('Unsqueeze', [tensor, editor.int64Constant([0])])
}
