/**
 * Columns of a result's rows in CSV and Parquet. New columns go to the end, so that the positions of others stay.
 */

import type { Controlled } from '../held-out.js'
import type { ResultRow } from '../result-rows.js'
import { type Cell, type Column, columnsOf } from './table.js'

type Cells = Record<string, (row: ResultRow) => Cell>

/** A figure on held-out units beside its controls, named as in `explained_null_p95`. */
function controlled(name: string, of: (row: ResultRow) => Controlled | null | undefined): Cells {
  return {
    [`${name}_key_components`]: (row) => of(row)?.keyComponents,
    [`${name}_mean_query`]: (row) => of(row)?.meanQuery,
    [`${name}_random`]: (row) => of(row)?.random,
  }
}

const explained = (row: ResultRow) => row.heldOut?.explained
const moved = (row: ResultRow) => row.heldOut?.swap?.moved
const deltaP = (row: ResultRow) => row.heldOut?.swap?.deltaP

const doubles = (cells: Cells) => columnsOf('double', cells)
const integers = (cells: Cells) => columnsOf('int32', cells)

export const NAME_COLUMNS: readonly Column<ResultRow>[] = columnsOf('string', {
  head: (r) => r.head,
  contrast: (r) => r.contrast,
})

export const FIGURE_COLUMNS: readonly Column<ResultRow>[] = [
  ...columnsOf<ResultRow>('boolean', {
    discovered: (r) => r.discovered,
    replicated: (r) => (r.discovered === null ? null : (r.replication?.replicated ?? false)),
  }),
  ...integers({ rank: (r) => r.rank }),
  ...doubles({
    p_effect: (r) => r.p.effect,
    p_interaction: (r) => r.p.interaction,
    q: (r) => r.q,
    replication_ratio: (r) => r.replication?.ratio,
    replication_p: (r) => r.replication?.p,
  }),
  ...integers({ units: (r) => r.units }),
  ...doubles({
    norm: (r) => r.norm,
    score_gap: (r) => r.scoreGap,
    attention_positive: (r) => r.attention?.positive,
    attention_negative: (r) => r.attention?.negative,
    attention_per_positive: (r) => r.attention?.perPositive,
    attention_per_negative: (r) => r.attention?.perNegative,
    explained: (r) => explained(r)?.value,
    explained_null_mean: (r) => explained(r)?.null.mean,
    explained_null_p95: (r) => explained(r)?.null.p95,
    moved: (r) => moved(r)?.value,
    moved_null_mean: (r) => moved(r)?.null.mean,
    moved_null_p95: (r) => moved(r)?.null.p95,
    moved_whole: (r) => moved(r)?.whole,
  }),
  ...integers({ layer: (r) => r.layer }),
  ...columnsOf<ResultRow>('string', { rank_rule: (r) => r.rankRule, hypothesis: (r) => r.hypothesis }),
  ...integers({ unadjusted_rank: (r) => r.unadjustedRank }),
  ...doubles({
    q_any_dependence: (r) => r.qAnyDependence,
    p_maximum: (r) => r.pMaximum,
    replication_error: (r) => r.replication?.error,
    // May exceed an int32 if there are many heads.
    unresolved_needs: (r) => r.unresolvedNeeds,
  }),
  ...integers({ draws: (r) => r.draws }),
  ...doubles({
    total_energy: (r) => r.totalEnergy,
    s1: (r) => r.s1,
    statistic: (r) => r.statistic,
    statistic_null_mean: (r) => r.statisticNull?.mean,
    statistic_null_sd: (r) => r.statisticNull?.sd,
    statistic_null_p95: (r) => r.statisticNull?.p95,
    error_bound: (r) => r.errorBound,
  }),
  ...columnsOf<ResultRow>('boolean', { converged: (r) => r.converged }),
  ...integers({
    terms: (r) => r.terms,
    skipped: (r) => r.skipped,
    held_out_units: (r) => r.heldOut?.units,
    held_out_terms: (r) => r.heldOut?.terms,
    explained_null_draws: (r) => explained(r)?.null.draws,
  }),
  ...doubles({
    ...controlled('explained', explained),
    ...controlled('moved', moved),
    origin_attention: (r) => r.heldOut?.swap?.origin,
    delta_p: (r) => deltaP(r)?.value,
    delta_p_null_mean: (r) => deltaP(r)?.null.mean,
    delta_p_null_p95: (r) => deltaP(r)?.null.p95,
  }),
]

export const RESULT_COLUMNS: readonly Column<ResultRow>[] = [...NAME_COLUMNS, ...FIGURE_COLUMNS]
