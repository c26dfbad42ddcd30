/** What a sweep found, one row a head and contrast. */

import type { HeldOut } from '../store/held-out.js'
import type { MeanAttention, Result } from '../store/result.js'
import { hasRole, type RoleRule } from './roles/verdict.js'

export interface SweepRow {
  head: string
  contrast: string
  /** ||ΔC||_F, and the mean scaled score of positive keys less that of negative ones (NaN where scores have no common factor). */
  norm: number
  scoreGap: number
  /** Null where the pattern could not be followed in the graph. */
  attention: MeanAttention | null
  p: { effect: number | null; interaction: number | null }
  /** False discovery rate over all heads and contrasts of the sweep. */
  q: number
  discovered: boolean
  rank: number
  /** From one half of the units to the other; null where the first half did not show it. */
  replication: { replicated: boolean; p: number; ratio: number; error: number } | null
  /** Draws that would decide, where the limit came first. */
  unresolvedNeeds?: number
  units: number
  /** On units that did not fit the subspace; of discovered heads only. */
  heldOut?: HeldOut
  /** Whether the contrast is what the head does: discovered, and its attention is there. */
  role: boolean
}

export function sweepRows(
  result: Result,
  heldOut: ReadonlyMap<string, HeldOut | undefined>,
  rule: RoleRule,
): SweepRow[] {
  const rows = result.headNames.flatMap((head) => {
    return result.contrastNames.map((contrast): SweepRow => {
      const { totalEnergy, scoreGap, attention = null, test, rank } = result.head(head).contrast(contrast)
      const { p, q, discovered, replication, unresolvedNeeds, units } = test!
      const measured = heldOut.get(rowKey(head, contrast))
      return {
        ...{ head, contrast, norm: Math.sqrt(totalEnergy), scoreGap, attention, p, q, discovered, rank },
        replication,
        ...(unresolvedNeeds !== undefined && { unresolvedNeeds }),
        units,
        ...(measured && { heldOut: measured }),
        role: hasRole({ discovered, attention }, rule),
      }
    })
  })
  return rows.sort(byEvidence)
}

export const rowKey = (head: string, contrast: string): string => `${head} ${contrast}`

/** Roles first, then replicated discoveries, other discoveries, the rest; within each by attention on the positives. */
function byEvidence(a: SweepRow, b: SweepRow): number {
  const weight = ({ role, replication, discovered }: SweepRow) => {
    return (role ? 4 : 0) + (discovered ? 2 : 0) + (discovered && replication?.replicated ? 1 : 0)
  }
  const attention = (row: SweepRow) => row.attention?.positive ?? 0
  return weight(b) - weight(a) || attention(b) - attention(a) || a.q - b.q
}

/** Contrasts that heads were made for, by head, those with most attention first. */
export function rolesByHead(
  rows: readonly SweepRow[],
): Record<string, { role: string; attention: number }[]> {
  const found: Record<string, { role: string; attention: number }[]> = {}
  for (const { head, contrast, role, attention } of rows) {
    if (!role) continue
    found[head] ??= []
    found[head].push({ role: contrast, attention: attention!.positive })
  }
  return found
}

const COLUMNS: [string, (row: SweepRow) => string | number | boolean | null | undefined][] = [
  ['head', (r) => r.head],
  ['contrast', (r) => r.contrast],
  ['role', (r) => r.role],
  ['discovered', (r) => r.discovered],
  ['replicated', (r) => r.replication?.replicated ?? false],
  ['rank', (r) => r.rank],
  ['p_effect', (r) => r.p.effect],
  ['p_interaction', (r) => r.p.interaction],
  ['q', (r) => r.q],
  ['replication_ratio', (r) => r.replication?.ratio],
  ['replication_p', (r) => r.replication?.p],
  ['units', (r) => r.units],
  ['norm', (r) => r.norm],
  ['score_gap', (r) => r.scoreGap],
  ['attention_positive', (r) => r.attention?.positive],
  ['attention_negative', (r) => r.attention?.negative],
  ['attention_per_positive', (r) => r.attention?.perPositive],
  ['attention_per_negative', (r) => r.attention?.perNegative],
  ['explained', (r) => r.heldOut?.explained?.value],
  ['explained_null_mean', (r) => r.heldOut?.explained?.null.mean],
  ['explained_null_p95', (r) => r.heldOut?.explained?.null.p95],
  ['moved', (r) => r.heldOut?.swap?.moved?.value],
  ['moved_null_mean', (r) => r.heldOut?.swap?.moved?.null.mean],
  ['moved_null_p95', (r) => r.heldOut?.swap?.moved?.null.p95],
  ['moved_whole', (r) => r.heldOut?.swap?.moved?.whole],
]

/** How a file of rows begins. */
export const CSV_START = COLUMNS.slice(0, 3)
  .map(([name]) => name)
  .join(',')

/** RFC 4180, with a header; numbers in full, nothing where there is none. */
export function csvOf(rows: readonly SweepRow[]): string {
  const cell = (value: string | number | boolean | null | undefined): string => {
    if (value === null || value === undefined || Number.isNaN(value)) return ''
    const text = `${value}`
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  }
  const lines = [COLUMNS.map(([name]) => name), ...rows.map((row) => COLUMNS.map(([, of]) => cell(of(row))))]
  return `${lines.map((line) => line.join(',')).join('\r\n')}\r\n`
}
