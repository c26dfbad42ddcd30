/** A result as rows: the figures of every head and contrast, each beside its null where the result has one. */

import type { HeldOut } from './held-out.js'
import type { RankTest } from './rank-test.js'
import type { RankRule } from './result-info.js'
import type { ContrastSubspace, MeanAttention } from './subspace.js'

/** One head and contrast. Null where the result does not have the figure. */
export interface ResultRow {
  /** As in `L3H0`, with `enc.`, `dec.` or `cross.` before it in a model with several kinds of layers. */
  head: string
  /** Zero-based, among the layers of its kind. */
  layer: number
  /** Name of the contrast. */
  contrast: string
  /** Components of the subspace, by the rank rule. */
  rank: number
  /** The rule, as on the command line: permutation:0.05, energy:0.99 or fixed:8. */
  rankRule: string
  /** Number of components at the plain level of the test, without the correction over heads and contrasts. */
  unadjustedRank: number | null
  /** Hypothesis that was tested: `effect` or `interaction`. */
  hypothesis: RankTest['hypothesis'] | null
  /** P-values of the first component under both hypotheses. */
  p: RankTest['p']
  /** False discovery rate over all heads and contrasts (Benjamini-Hochberg). */
  q: number | null
  /** False discovery rate under any dependence between heads (Benjamini and Yekutieli 2001). */
  qAnyDependence: number | null
  /** p adjusted for the maximum over all heads and contrasts (step-down max-T). */
  pMaximum: number | null
  /**
   * Whether `q` is at most the level of the test. If the limit of draws was reached first, `pMaximum` at most that
   * level is enough. Null if nothing was tested.
   */
  discovered: boolean | null
  /** Draws that a decision would need, if the limit of draws was reached first. */
  unresolvedNeeds?: number
  /** Number of null draws. */
  draws: number | null
  /** Number of units that were exchanged. */
  units: number | null
  /**
   * Replication between the two halves of the units. Null if neither half showed the component, or if nothing was
   * tested.
   */
  replication: RankTest['replication']
  /** ||ΔC||_F, in units of q times k. */
  norm: number
  /** ||ΔC||_F^2. */
  totalEnergy: number
  /** Largest singular value of ΔC. Null if no component was kept. */
  s1: number | null
  /** Largest singular value: the statistic of the test. */
  statistic: number | null
  /** Largest singular values of the null: mean, standard deviation and 95th percentile. */
  statisticNull: RankTest['null'] | null
  /** Mean scaled score of positive keys less that of negative keys. NaN if the scores have no common factor. */
  scoreGap: number
  /** Fractions of a query's attention. Null if the attention pattern was not found in the graph. */
  attention: MeanAttention | null
  /** Upper bound of ||ΔC - U diag(s) V^T||_F / ||ΔC||_F. */
  errorBound: number
  /** Whether the decomposition met its accuracy contract. */
  converged: boolean
  /** Number of accumulated terms. */
  terms: number
  /** Number of label-matched queries that were skipped because a key set was empty. */
  skipped: number
  /**
   * Figures on units that were not used to fit the subspace, beside null subspaces. Only for heads that a sweep
   * discovered.
   */
  heldOut?: HeldOut
}

export function resultRow(
  head: string,
  contrast: string,
  subspace: ContrastSubspace,
  rule: RankRule,
): ResultRow {
  const { rank, totalEnergy, scoreGap, attention = null, test, heldOut } = subspace
  const { errorBound, converged, terms, skipped } = subspace
  return {
    head,
    layer: layerOf(head),
    contrast,
    rank,
    rankRule: ruleText(rule),
    unadjustedRank: test?.unadjustedRank ?? null,
    hypothesis: test?.hypothesis ?? null,
    p: test?.p ?? { effect: null, interaction: null },
    q: test?.q ?? null,
    qAnyDependence: test?.qAnyDependence ?? null,
    pMaximum: test?.pMaximum ?? null,
    discovered: test?.discovered ?? null,
    ...(test?.unresolvedNeeds !== undefined && { unresolvedNeeds: test.unresolvedNeeds }),
    draws: test?.draws ?? null,
    units: test?.units ?? null,
    replication: test?.replication ?? null,
    norm: Math.sqrt(totalEnergy),
    totalEnergy,
    s1: totalEnergy === 0 ? 0 : (subspace.s[0] ?? subspace.spectrum?.[0] ?? null),
    statistic: test?.statistic ?? null,
    statisticNull: test?.null ?? null,
    scoreGap,
    attention,
    errorBound,
    converged,
    terms,
    skipped,
    ...(heldOut && { heldOut }),
  }
}

const layerOf = (head: string): number => Number(/L(\d+)H\d+$/.exec(head)?.[1])

/** A rank rule in the notation of the command line. */
export function ruleText(rule: RankRule): string {
  if (rule.rule === 'permutation') {
    return `permutation:${rule.alpha ?? 0.05}`
  }
  return rule.rule === 'energy' ? `energy:${rule.threshold}` : `fixed:${rule.rank}`
}
