/**
 * The graph that shows what a direction of queries or keys reads from a token's embedding. It runs the model up to
 * the stream before its first layer. From there the stream goes directly into the norm, projection, bias, q/k norm
 * and rotation of the requested layers, and onto the directions. The contributions of the layers in between are left
 * out.
 */

import { create } from '@bufbuild/protobuf'
import type { Graph } from '../onnx/graph.js'
import { GraphEditor } from '../onnx/graph-editor.js'
import { ElementType } from '../onnx/node-writer.js'
import { type NodeProto, NodeProtoSchema } from '../onnx/proto/onnx_pb.js'
import { keyHeadOf, type ResolvedSite, type Side } from '../sites/site.js'
import { byRows } from './capture-graph.js'
import { type Heads, withoutOthers } from './rows.js'
import { madeFrom, type NoTap, type StreamTap, streamTap, type TokenFlow, tokenFlow } from './stream.js'

/** The side of the score that reads. */
export type ReadSide = 'query' | 'key'

/** The stream that one side of a site reads. */
export interface SiteStream extends StreamTap {
  /** The site before which the stream is taken. */
  from: ResolvedSite
  /** Name of that stream's tensor in the graph. */
  embedding: string
}

/** The streams of every site, by side. `ids` is the input of token ids. */
export function siteStreams(
  graph: Graph,
  ids: string,
  sites: readonly ResolvedSite[],
): Map<ResolvedSite, Record<ReadSide, SiteStream | NoTap>> {
  const flow = tokenFlow(graph, ids)
  const taps = sites.map((site) => ({
    site,
    query: streamTap(graph, flow, site.query.tensor),
    key: streamTap(graph, flow, site.key.tensor),
  }))
  const first = new Map<string, ResolvedSite>()
  for (const { site, query, key } of taps) {
    for (const tap of [query, key]) {
      if ('tensor' in tap && !first.has(tap.tensor)) {
        first.set(tap.tensor, site)
      }
    }
  }
  const tapped = new Set(first.keys())
  return new Map(
    taps.map(({ site, query, key }) => {
      const of = (tap: StreamTap | NoTap) => withEmbedding(graph, flow, tap, first, tapped)
      return [site, { query: of(query), key: of(key) }]
    }),
  )
}

function withEmbedding(
  graph: Graph,
  flow: TokenFlow,
  tap: StreamTap | NoTap,
  first: ReadonlyMap<string, ResolvedSite>,
  tapped: ReadonlySet<string>,
): SiteStream | NoTap {
  if ('reason' in tap) {
    return tap
  }
  const before = madeFrom(graph, flow, tap.tensor, tapped)
  // Sites are in topological order, so the first is the nearest to the embeddings.
  const embedding = tap.atEmbedding ? tap.tensor : [...tapped].find((name) => before.has(name))!
  return { ...tap, embedding, from: first.get(embedding)! }
}

/** Directions of one side of some heads of a site. */
export interface ReadsRequest {
  site: ResolvedSite
  side: ReadSide
  stream: SiteStream
  /** Query heads. */
  heads: readonly number[]
  /** Number of directions of each head. */
  columns: number
}

/** Names of the input and output of one request. */
export interface ReadsOutput {
  /** Input, float [heads, d, columns]: the directions. */
  directions: string
  /** Output, float [heads, runs, columns]: the projections of the first row of every run. */
  projections: string
}

export function readsGraph(
  graph: Graph,
  requests: readonly ReadsRequest[],
): { bytes: Uint8Array; inputs: string[]; outputs: ReadsOutput[] } {
  const editor = new GraphEditor(graph)
  const replaced = new Set<string>()
  for (const { stream } of requests) {
    const [tensor] = stream.summing ? stream.summing.output : [stream.tensor]
    if (stream.atEmbedding || stream.embedding === stream.tensor || replaced.has(tensor)) {
      continue
    }
    replaced.add(tensor)
    editor.intercept(tensor)
    if (stream.summing) {
      editor.addedNodes.push(normOfOne(editor, stream.summing, stream.embedding))
    } else {
      editor.node('Identity', [stream.embedding], {}, tensor)
    }
  }
  const outputs = requests.map(({ site, side, heads, columns }, index): ReadsOutput => {
    const directions = `qkspace.directions/${index}`
    const projections = `qkspace.reads/${index}`
    editor.input(directions, ElementType.float, [heads.length, site.headDim, columns])
    const rows = firstRow(editor, site[side], headsOf(site, side, heads))
    const byHead = editor.node('Transpose', [rows], { perm: [1, 0, 2] })
    editor.node('MatMul', [byHead, directions], {}, projections)
    editor.output(projections)
    return { directions, projections }
  })
  const { bytes, inputs } = editor.build()
  return { bytes, inputs: inputs.filter((name) => !name.startsWith('qkspace.')), outputs }
}

function headsOf(site: ResolvedSite, side: ReadSide, heads: readonly number[]): Heads {
  if (side === 'query') {
    return { count: site.heads, chosen: heads }
  }
  const chosen = heads.map((head) => keyHeadOf(site, head) * site.keyStride)
  return { count: site.kvHeads * site.keyStride, chosen }
}

/** The first token's row, float [batch, heads, d]. */
function firstRow(editor: GraphEditor, side: Side, heads: Heads): string {
  const rows = withoutOthers(editor, byRows(editor, side, heads), 1, side.others)
  const first = editor.node('Gather', [rows, editor.int64Constant([0], [])], { axis: 1 })
  return editor.node('Cast', [first], { to: ElementType.float })
}

/** Replaces an operator that sums and normalises by the norm alone, over a stream to which nothing is added. */
function normOfOne(editor: GraphEditor, summing: NodeProto, stream: string): NodeProto {
  const nothing = editor.node('Sub', [stream, stream])
  const [, , gain, shift] = summing.input
  // In the simplified operator, the fourth input is the bias of the sum, which the stream already includes.
  const norm = summing.opType === 'SkipLayerNormalization' && shift ? [gain, shift] : [gain]
  return create(NodeProtoSchema, {
    ...summing,
    name: `qkspace.reads.${summing.name || summing.output[0]}`,
    input: [stream, nothing, ...norm],
    output: [summing.output[0]],
  })
}
