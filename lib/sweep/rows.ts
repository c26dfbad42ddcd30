/** The findings of a sweep, one row per head and contrast. */

import type { Result } from '../store/result.js'
import type { ResultRow } from '../store/result-rows.js'
import { FIGURE_COLUMNS, NAME_COLUMNS } from '../store/tables/result-columns.js'
import { type Column, columnsOf } from '../store/tables/table.js'
import { hasRole, type RoleRule } from './roles/verdict.js'

/** A row of the result, always tested, with the decision whether the head has this role. */
export interface SweepRow extends ResultRow {
  /** False discovery rate over all heads and contrasts of the sweep. */
  q: number
  /**
   * Whether `q` is at most the level of the sweep. Where the limit of draws came first, `pMaximum` at most that level is
   * enough.
   */
  discovered: boolean
  /** Number of units that were exchanged. */
  units: number
  /** Whether it is discovered, and its attention reaches the limits of a role. */
  role: boolean
}

export function sweepRows(result: Result, rule: RoleRule): SweepRow[] {
  const rows = result.toRows() as Omit<SweepRow, 'role'>[]
  return rows.map((row) => ({ ...row, role: hasRole(row, rule) })).sort(byEvidence)
}

/**
 * Order of rows: roles, replicated discoveries, other discoveries, the rest; within each by attention on the
 * positives.
 */
function byEvidence(a: SweepRow, b: SweepRow): number {
  const weight = ({ role, replication, discovered }: SweepRow) => {
    return (role ? 4 : 0) + (discovered ? 2 : 0) + (discovered && replication?.replicated ? 1 : 0)
  }
  const attention = (row: SweepRow) => row.attention?.positive ?? 0
  return weight(b) - weight(a) || attention(b) - attention(a) || a.q - b.q
}

/** Roles by head, in descending order of attention. */
export function rolesByHead(
  rows: readonly SweepRow[],
): Record<string, { role: string; attention: number }[]> {
  const found: Record<string, { role: string; attention: number }[]> = {}
  for (const { head, contrast, role, attention } of rows) {
    if (!role) {
      continue
    }
    found[head] ??= []
    found[head].push({ role: contrast, attention: attention!.positive })
  }
  return found
}

export const SWEEP_COLUMNS: readonly Column<SweepRow>[] = [
  ...NAME_COLUMNS,
  ...columnsOf<SweepRow>('boolean', { role: (r) => r.role }),
  ...FIGURE_COLUMNS,
]
