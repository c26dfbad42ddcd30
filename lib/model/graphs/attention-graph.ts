/**
 * The graph that computes the attention of single queries: their rows of scores and of the pattern in every head, and
 * for chosen heads the parts of the scores. Whole patterns of all heads of a large model would not fit into memory.
 */

import type { Graph } from '../onnx/graph.js'
import { GraphEditor } from '../onnx/graph-editor.js'
import { ElementType } from '../onnx/node-writer.js'
import { factorsOfScores, scoresOfZeros } from '../sites/replay.js'
import { keyHeadOf, type OtherRows, type ProductAxis, type ResolvedSite } from '../sites/site.js'
import { byRows, QUERY_ROWS, scoreMatrix } from './capture-graph.js'
import { tokenKeys, tokenPattern, tokenRows } from './pattern-cells.js'
import { rowGatherer, withoutOthers } from './rows.js'

/** A site whose attention pattern was found in the graph. */
export type FollowedSite = ResolvedSite & { patternAxes: ProductAxis[] }

/** The request for one site. */
export interface AttentionRequest {
  site: FollowedSite
  /** Heads whose rows are output. */
  heads: readonly number[]
  /** Heads whose whole pattern is output. */
  whole: readonly number[]
  /** Heads whose queries and keys are output. */
  parts: readonly number[]
}

/** Names of the outputs of one site. All outputs hold only rows and keys of tokens. */
export interface AttentionOutputs {
  /** Scores as they enter the softmax, float [rows, heads, keys]. */
  scores: string
  /** Scores of a product of zeros, which show what is masked, float [rows, heads, keys]. */
  zeros: string
  /** The softmax of the scores, float [rows, heads, keys]. */
  pattern: string
  /** Whole patterns of the `whole` heads, float [batch, heads, queries, keys]. */
  whole?: string
  /** Parts of the scores of the `parts` heads. */
  parts?: {
    /** [rows, heads, d] */
    q: string
    /** [batch, tokens, key heads, d]; `keyHeads` are the indices of the key heads that the heads read. */
    k: string
    keyHeads: readonly number[]
    /** Factors of the scores, float [rows, heads, keys], if they are not constant. */
    factors?: string
    /** The tensors that queries and keys are captured from, by their names in the graph. */
    operands: { query: string; key: string }
  }
}

export interface AttentionGraph {
  bytes: Uint8Array
  /** The model's own inputs that are needed. */
  inputs: string[]
  /** Outputs of each request. */
  sites: AttentionOutputs[]
}

const NO_SINKS: OtherRows = { before: 0, after: 0 }

/**
 * Builds the graph. Besides the model's inputs it takes `QUERY_ROWS`, int64 [rows, 3]: batch, query position, 0.
 */
export function attentionGraph(graph: Graph, requests: readonly AttentionRequest[]): AttentionGraph {
  const editor = new GraphEditor(graph)
  editor.input(QUERY_ROWS, ElementType.int64, ['qkspace.query_rows.n', 3])
  const gather = rowGatherer(editor)
  const float = (tensor: string, name: string) => {
    editor.output(editor.node('Cast', [tensor], { to: ElementType.float }, name))
    return name
  }
  const sites = requests.map(({ site, heads, whole, parts }, index): AttentionOutputs => {
    const { candidate, patternAxes: axes, sinks } = site
    const named = (what: string) => `qkspace.${what}/${index}`
    const rows = (own: readonly number[], tensor: string, outside: OtherRows) =>
      tokenRows(editor, site, own, tokenKeys(editor, site, { tensor, axes }, outside), QUERY_ROWS)
    const pattern = tokenPattern(editor, site, axes)
    const outputs: AttentionOutputs = {
      scores: float(rows(heads, candidate.softmaxInput, sinks), named('scores')),
      zeros: float(rows(heads, scoresOfZeros(editor, candidate), sinks), named('zeros')),
      pattern: float(tokenRows(editor, site, heads, pattern, QUERY_ROWS), named('pattern')),
    }
    if (whole.length > 0) {
      const taken = { count: site.heads, chosen: whole }
      const matrix = scoreMatrix(editor, pattern.tensor, pattern.axes, taken, named('matrix'))
      outputs.whole = float(withoutOthers(editor, matrix, 2, site.query.others), named('whole'))
    }
    if (parts.length > 0) {
      const own = parts.map((head) => keyHeadOf(site, head))
      const keyHeads = [...new Set(own)]
      const ofKeys = {
        count: site.kvHeads * site.keyStride,
        chosen: keyHeads.map((head) => head * site.keyStride),
      }
      const keys = withoutOthers(editor, byRows(editor, site.key, ofKeys), 1, site.key.others)
      const q = gather(site.query, { count: site.heads, chosen: parts }, QUERY_ROWS)
      const factors =
        site.factors.kind === 'constant'
          ? undefined
          : float(rows(parts, factorsOfScores(editor, candidate), NO_SINKS), named('factors'))
      const operands = { query: site.query.tensor, key: site.key.tensor }
      for (const name of Object.values(operands)) {
        editor.output(name)
      }
      outputs.parts = {
        q: float(q, named('q')),
        k: float(keys, named('k')),
        keyHeads: own.map((head) => keyHeads.indexOf(head)),
        ...(factors && { factors }),
        operands,
      }
    }
    return outputs
  })
  const { bytes, inputs } = editor.build()
  return { bytes, inputs: inputs.filter((name) => name !== QUERY_ROWS), sites }
}
