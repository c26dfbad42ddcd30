/** An attention site: where in a graph queries meet keys, and how to get at them. */

import type { SiteCandidate, SiteKind } from '../candidate.js'
import type { Axis } from './axes.js'

/**
 * Where a product of zeros ends below this, the graph masks: exporters use -10000, the type's lowest number, or minus
 * infinity.
 */
export const MASKED_BELOW = -5000

/** What users see of a site; `inspect --json` prints it. */
export interface AttentionSite {
  /** Place among the sites of its kind, in topological order. */
  layer: number
  /** `enc`, `dec` or `cross` in a model with several kinds, otherwise absent. */
  kind?: SiteKind
  /** How attention is written: MatMul or Einsum, or the fused operator, as in com.microsoft.MultiHeadAttention. */
  op: string
  /** Name of the node that multiplies queries and keys, or of the fused operator. */
  node: string
  /** Query heads. */
  heads: number
  /** Key heads; query head h reads key head floor(h / (heads / kvHeads)). */
  kvHeads: number
  /** Head dimension d of queries and keys. */
  headDim: number
  /**
   * What q·k is multiplied by on its way to the softmax, softcaps left out: a number, or what kind of numbers. 'computed'
   * ones depend on the length or on the input.
   */
  scale: number | 'per head' | 'per query' | 'computed'
  /** Whether queries see no later keys. */
  causal: boolean
  /** Whether queries and keys are rotated by position (RoPE). */
  rotary: boolean
  /** Whether keys come from another sequence than queries. */
  cross: boolean
  /**
   * Nodes that add to the scores what depends on queries or keys and is not their product, as attention to relative
   * positions does in DeBERTa: attribution and interventions do not reach it. Absent where there is none.
   */
  uncovered?: string[]
  /**
   * Nodes that round or clip the scores on their way to the softmax: attribution and score gaps are those of the scores
   * before them. Absent where there is none.
   */
  altered?: string[]
  /** Where not every captured row is a token: rows before and after those of the tokens. */
  otherRows?: {
    /** Rows of queries that are no tokens. */
    query: OtherRows
    /** Rows of keys that are no tokens. */
    key: OtherRows
  }
  /** TransformerLens names of the captured tensors. */
  hooks: {
    /** Name of the queries. */
    q: string
    /** Name of the keys. */
    k: string
  }
  /**
   * ||S - S'||_F / ||S||_F over unmasked entries of a probe: S the model's scores, S' those recomputed. Of a fused
   * operator also its attention output against the one that its subgraph computes, whichever is larger.
   */
  relativeError: number
}

/** A head's name, as in `L16H1`, with the site's kind in a model with several. */
export function headName(site: { layer: number; kind?: SiteKind }, head: number): string {
  return `${site.kind ? `${site.kind}.` : ''}L${site.layer}H${head}`
}

/** The key head that a query head reads (docs/method.md, "A head"). */
export function keyHeadOf({ heads, kvHeads }: { heads: number; kvHeads: number }, head: number): number {
  return Math.floor((head * kvHeads) / heads)
}

/** Where one side can be captured. */
export interface Side {
  tensor: string
  axes: Axis[]
  /** Size of the group axis, 1 where there is none: query head h lies at (h div groups, h mod groups). */
  groups: number
  others: OtherRows
}

/** Rows that are no tokens, as learned ones of a soft prompt are: how many before those of the tokens, and after. */
export interface OtherRows {
  /** Rows before those of the tokens. */
  before: number
  /** Rows after those of the tokens. */
  after: number
}

/** A site with what capture and verification need to know of the graph. */
export interface ResolvedSite extends AttentionSite {
  candidate: SiteCandidate
  query: Side
  key: Side
  /** Product of the constant factors on both operands of the product. */
  operandScale: number
  /** Factors between the product and the softmax. */
  factors: ScoreFactors
  /** Meaning of the axes of the product's output; `keyPos` is the softmax's axis. */
  productAxes: ProductAxis[]
  /** The same of the softmax's input; undefined where the steps between could not be followed. */
  patternAxes: ProductAxis[] | undefined
  /** Columns that the softmax sees and that are no keys: sinks, before and behind them; captured scores lack them. */
  sinks: OtherRows
  /** Size of the product's group axis, 1 where there is none. */
  productGroups: number
  /** onnxruntime's names of element types: of the captured queries, of the product, of a fused operator's output. */
  queryType: string
  productType: string
  outputType: string
  /** Every how many heads of the captured keys are distinct: 1 unless they were repeated untraceably. */
  keyStride: number
}

/** Factors between the product and the softmax, up to a softcap and with what stands behind it. */
export type ScoreFactors =
  /** By query head, the same in every run. */
  | { kind: 'constant'; byHead: number[] }
  /** Of a query's whole row: of its position, as log-n scaling has, or computed from the length or the input. */
  | { kind: 'rows'; perQuery: boolean }
  /** Different for the keys of one query, or of scores whose axes could not be followed. */
  | { kind: 'entries' }

/** As `Axis`, of scores. */
export type ProductAxis = 'batch' | 'head' | 'group' | 'fold' | 'queryPos' | 'keyPos' | 'one'
