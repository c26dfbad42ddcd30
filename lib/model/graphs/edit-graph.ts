/**
 * The graph that interventions run: the whole model, in which the scores of chosen heads are changed as an edit
 * of queries and keys would change them, before scale, softcap and mask (docs/method.md, "Intervention").
 *
 *   s'(b, h, i, j) = s + c * ((q_i + Δq) · (k_j + Δk) - q_i · k_j),   Δx = (f * x_from + a - x_at) P
 *
 * Queries and keys are those of the run itself, so later edits see the effect of edits in earlier layers. What
 * is edited, and where, are inputs: one session serves every feature, control and strength. P is a d x d
 * projection for each head, the same for all slots or one a slot, so zero changes nothing and the identity edits whole
 * keys.
 */

import { QkError } from '../../errors.js'
import type { Graph } from '../onnx/graph.js'
import { GraphEditor } from '../onnx/graph-editor.js'
import { ElementType, elementTypeOf } from '../onnx/node-writer.js'
import { RESHAPING } from '../sites/search/find.js'
import { keyHeadOf, type ProductAxis, type ResolvedSite } from '../sites/site.js'
import { cellIndex, tokenPattern, tokenRows } from './pattern-cells.js'
import { rowGatherer } from './rows.js'

/** The query heads of a site whose scores are edited and whose attention is reported. */
export interface EditRequest {
  site: ResolvedSite
  heads: readonly number[]
}

/**
 * Inputs with positions: int64 [n, 3] lists of (batch, position, 0) for slots, [cells, 4] of (batch, query position,
 * key position, 0), and [cells] with the slots of each cell's query and key. Factors are float [slots, 1, 1].
 */
export const EDIT_INPUTS = {
  cells: 'qkspace.cells',
  query: side('query'),
  key: side('key'),
  /** [rows, 3]: where attention and output are reported. */
  rows: 'qkspace.rows',
} as const

function side(name: 'query' | 'key') {
  return {
    at: `qkspace.${name}_at`,
    from: `qkspace.${name}_from`,
    factor: `qkspace.${name}_factor`,
    cellSlot: `qkspace.${name}_cell_slot`,
  }
}

/** Names of the inputs and outputs of one edited site. */
export interface EditedSite {
  /** Inputs, float [1 or slots, heads, d, d]: symmetric projections. */
  projection: { query: string; key: string }
  /** Inputs, float [slots, heads, d]: what is added to the rows that slots take from. */
  added: { query: string; key: string }
  /** Output, float [rows, heads, keys]: the pattern after the edit. */
  pattern: string
}

export interface EditGraph {
  bytes: Uint8Array
  inputs: string[]
  sites: EditedSite[]
  /**
   * Output, float [rows, classes]: the model's own output at the rows. Absent if the model has no such output.
   */
  logits: string | undefined
}

export interface EditGraphOptions {
  /** The model's output that is reported; false for none. */
  output?: string | false
  /** Whether the model gives [position, sequence]. */
  sequenceFirst?: boolean
  /**
   * Tensors that become inputs instead of being computed, with ONNX's number of their element type. If a site's
   * queries and keys were captured before, its scores need only a small part of the model.
   */
  given?: ReadonlyMap<string, number>
}

/**
 * Builds the graph. Errors: ERR_UNSUPPORTED_MODEL, with the node, if the scores of a site cannot be followed to its
 * pattern.
 */
export function editGraph(
  graph: Graph,
  requests: readonly EditRequest[],
  { output, sequenceFirst = false, given = new Map() }: EditGraphOptions = {},
): EditGraph {
  const editor = new GraphEditor(graph)
  for (const [tensor, type] of given) {
    editor.give(tensor, type)
  }
  const { cells, query, key, rows } = EDIT_INPUTS
  editor.input(cells, ElementType.int64, ['qkspace.cells.n', 4])
  editor.input(rows, ElementType.int64, ['qkspace.rows.n', 3])
  for (const { at, from, factor, cellSlot } of [query, key]) {
    editor.input(at, ElementType.int64, [`${at}.n`, 3])
    editor.input(from, ElementType.int64, [`${at}.n`, 3])
    editor.input(factor, ElementType.float, [`${at}.n`, 1, 1])
    editor.input(cellSlot, ElementType.int64, ['qkspace.cells.n'])
  }
  const gather = rowGatherer(editor)
  const columns = (from: string, which: number[]) =>
    editor.node('Gather', [from, editor.int64Constant(which)], { axis: 1 })
  const queryCells = columns(cells, [0, 1, 3])
  const keyCells = columns(cells, [0, 2, 3])

  const sites = requests.map(({ site, heads }, index): EditedSite => {
    const axesOfPattern = followedAxes(site)
    const names: EditedSite = {
      projection: { query: `qkspace.p_q/${index}`, key: `qkspace.p_k/${index}` },
      added: { query: `qkspace.add_q/${index}`, key: `qkspace.add_k/${index}` },
      pattern: `qkspace.pattern/${index}`,
    }
    const d = site.headDim
    const keyHeads = heads.map((h) => keyHeadOf(site, h) * site.keyStride)
    const read = {
      query: (at: string) => gather(site.query, { count: site.heads, chosen: heads }, at),
      key: (at: string) => gather(site.key, { count: site.kvHeads * site.keyStride, chosen: keyHeads }, at),
    }
    const float = (tensor: string) => editor.node('Cast', [tensor], { to: ElementType.float })
    /** Rows of the cells before and after the edit, [cells, heads, d]. */
    const edited = (which: 'query' | 'key', atCells: string) => {
      const { at, from, factor, cellSlot } = EDIT_INPUTS[which]
      editor.input(names.projection[which], ElementType.float, [`${at}.projections`, heads.length, d, d])
      editor.input(names.added[which], ElementType.float, [`${at}.n`, heads.length, d])
      const taken = editor.node('Mul', [float(read[which](from)), factor])
      const wanted = editor.node('Add', [taken, names.added[which]])
      const change = editor.node('Sub', [wanted, float(read[which](at))])
      const row = editor.node('Reshape', [change, editor.int64Constant([-1, heads.length, 1, d])])
      const projected = editor.node('MatMul', [row, names.projection[which]])
      const bySlot = editor.node('Reshape', [projected, editor.int64Constant([-1, heads.length, d])])
      const before = float(read[which](atCells))
      return { before, after: editor.node('Add', [before, editor.node('Gather', [bySlot, cellSlot])]) }
    }
    const q = edited('query', queryCells)
    const k = edited('key', keyCells)
    /** q · k by cell and head, as a product of matrices with one row and one column, which every opset has. */
    const dot = (a: string, b: string) => {
      const row = editor.node('Reshape', [a, editor.int64Constant([-1, heads.length, 1, d])])
      const column = editor.node('Reshape', [b, editor.int64Constant([-1, heads.length, d, 1])])
      const product = editor.node('MatMul', [row, column])
      return editor.node('Reshape', [product, editor.int64Constant([-1, heads.length])])
    }
    const difference = editor.node('Sub', [dot(q.after, k.after), dot(q.before, k.before)])
    const scaled = editor.node('Mul', [difference, editor.floatConstant(site.operandScale)])

    const scores = site.candidate.product.output[0]
    const raw = editor.intercept(scores)
    const place = cellIndex(editor, site, heads, cells, site.productAxes, site.key.others.before)
    const now = editor.node('GatherND', [raw, place])
    const delta = editor.node('Cast', [scaled], {
      to: elementTypeOf(site.productType),
    })
    editor.node('ScatterND', [raw, place, editor.node('Add', [now, delta])], {}, scores)

    runLowered(editor, site)
    const { tensor, axes } = tokenPattern(editor, site, axesOfPattern)
    const pattern = tokenRows(editor, site, heads, { tensor, axes }, EDIT_INPUTS.rows)
    editor.output(editor.node('Cast', [pattern], { to: ElementType.float }, names.pattern))
    return names
  })
  const logits = output === false ? undefined : outputRows(editor, graph, output, sequenceFirst)
  const { bytes, inputs } = editor.build()
  return { bytes, inputs, sites, logits }
}

/** Connects the consumers of a fused operator to its subgraph, whose scores are edited. */
function runLowered(editor: GraphEditor, { candidate: { fused }, outputType }: ResolvedSite): void {
  if (!fused) {
    return
  }
  const [own] = fused.node.output
  editor.intercept(own)
  editor.node('Cast', [fused.output], { to: elementTypeOf(outputType) }, own)
}

/**
 * The model's output at the reported rows. Its shape is [batch, pos, classes], with batch and pos swapped in a model
 * that takes [pos, batch], or [batch, classes] for all positions.
 */
function outputRows(
  editor: GraphEditor,
  graph: Graph,
  wanted: string | undefined,
  sequenceFirst: boolean,
): string | undefined {
  const outputs = graph.model.proto.graph!.output.map((o) => {
    const type = o.type?.value
    const tensor = type?.case === 'tensorType' ? type.value : undefined
    return { name: o.name, rank: tensor?.shape?.dim.length, elemType: tensor?.elemType }
  })
  const floats = [ElementType.float, ElementType.float16] as number[]
  const fits = outputs.filter((o) => (o.rank === 3 || o.rank === 2) && floats.includes(o.elemType ?? 0))
  const found = wanted
    ? outputs.find((o) => o.name === wanted)
    : (fits.find((o) => /logits/i.test(o.name)) ?? fits[0])
  if (!found) {
    if (!wanted) {
      return undefined
    }
    throw new QkError('ERR_ARGUMENT', `the model has no output "${wanted}"`, {
      hint: `It has ${outputs.map((o) => o.name).join(', ')}.`,
    })
  }
  const index = editor.node(
    'Gather',
    [EDIT_INPUTS.rows, editor.int64Constant(found.rank === 2 ? [0] : sequenceFirst ? [1, 0] : [0, 1])],
    { axis: 1 },
  )
  const rows = editor.node('GatherND', [found.name, index])
  const name = 'qkspace.output'
  editor.output(editor.node('Cast', [rows], { to: ElementType.float }, name))
  return name
}

/** Axes of the pattern. Errors: ERR_UNSUPPORTED_MODEL if they could not be followed from the product. */
function followedAxes({ patternAxes, candidate, layer }: ResolvedSite): ProductAxis[] {
  if (patternAxes) {
    return patternAxes
  }
  const moved = candidate.steps.find(({ node }) => RESHAPING.has(node.opType))?.node
  throw new QkError(
    'ERR_UNSUPPORTED_MODEL',
    `layer ${layer}: its scores are reshaped between product and softmax` +
      `${moved ? ` (${moved.opType} "${moved.name || moved.output[0]}")` : ''}, which interventions cannot follow`,
    { hint: 'Export the attention without reshaping its scores, other than folding heads into the batch.' },
  )
}
