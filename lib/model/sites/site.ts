/** An attention site: where in a graph queries meet keys, and how to get at them. */

import type { SiteCandidate, SiteKind } from '../candidate.js'
import type { Axis } from './axes.js'

/**
 * Entries of a product of zeros that end below this are masked. Exporters use -10000, the type's lowest number, or
 * minus infinity.
 */
export const MASKED_BELOW = -5000

/** The part of a site for users; `inspect --json` prints it. */
export interface AttentionSite {
  /** Index among the sites of its kind, in topological order. */
  layer: number
  /** `enc`, `dec` or `cross` in a model with several kinds, otherwise absent. */
  kind?: SiteKind
  /** Operator of the attention: MatMul or Einsum, or the fused operator, as in com.microsoft.MultiHeadAttention. */
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
   * The factor of q·k on its way to the softmax, without softcaps: a number, or the kind of factors. 'computed'
   * factors depend on the length or on the input.
   */
  scale: number | 'per head' | 'per query' | 'computed'
  /** Whether later keys are masked for every query. */
  causal: boolean
  /** Whether queries and keys are rotated by position (RoPE). */
  rotary: boolean
  /** Whether keys come from another sequence than queries. */
  cross: boolean
  /**
   * Nodes that add terms to the scores which depend on queries or keys but are not their product, such as the relative
   * positions of DeBERTa. Attribution and interventions do not include these terms. Absent if there are none.
   */
  uncovered?: string[]
  /**
   * Nodes that round or clip the scores on their way to the softmax. Attribution and score gaps use the scores before
   * these nodes. Absent if there are none.
   */
  altered?: string[]
  /** Captured rows that are not tokens: rows before and after those of the tokens. Absent if all rows are tokens. */
  otherRows?: {
    /** Rows of queries that are not tokens. */
    query: OtherRows
    /** Rows of keys that are not tokens. */
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
   * ||S - S'||_F / ||S||_F over unmasked entries of a probe: S the model's scores, S' the recomputed ones. For a fused
   * operator, the larger of this and the relative error between its attention output and that of its subgraph.
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

/** The place where one side can be captured. */
export interface Side {
  tensor: string
  axes: Axis[]
  /** Size of the group axis, 1 if there is none: query head h lies at (h div groups, h mod groups). */
  groups: number
  others: OtherRows
}

/**
 * Rows that are not tokens, such as the learned rows of a soft prompt: how many come before those of the tokens, and
 * how many after.
 */
export interface OtherRows {
  /** Rows before those of the tokens. */
  before: number
  /** Rows after those of the tokens. */
  after: number
}

/** A site with the information on the graph that capture and verification need. */
export interface ResolvedSite extends AttentionSite {
  candidate: SiteCandidate
  query: Side
  key: Side
  /** Product of the constant factors on both operands of the product. */
  operandScale: number
  /** Factors between the product and the softmax. */
  factors: ScoreFactors
  /** Meaning of the axes of the product's output. The softmax normalises over `keyPos`. */
  productAxes: ProductAxis[]
  /** Meaning of the axes of the softmax's input. Undefined if the steps in between could not be followed. */
  patternAxes: ProductAxis[] | undefined
  /** Columns of the softmax that are not keys, before and after the keys: sinks. Captured scores lack them. */
  sinks: OtherRows
  /** Size of the product's group axis, 1 if there is none. */
  productGroups: number
  /** onnxruntime's names of element types: of the captured queries, of the product, of a fused operator's output. */
  queryType: string
  productType: string
  outputType: string
  /** Number of adjacent captured key heads that are equal: 1 unless they were repeated untraceably. */
  keyStride: number
}

/** Factors between the product and the softmax, on both sides of a softcap. */
export type ScoreFactors =
  /** By query head, the same in every run. */
  | { kind: 'constant'; byHead: number[] }
  /** One factor per query: by its position, as in log-n scaling, or computed from the length or the input. */
  | { kind: 'rows'; perQuery: boolean }
  /** Factors that differ between the keys of one query, or that belong to scores whose axes could not be followed. */
  | { kind: 'entries' }

/** As `Axis`, of scores. */
export type ProductAxis = 'batch' | 'head' | 'group' | 'fold' | 'queryPos' | 'keyPos' | 'one'
