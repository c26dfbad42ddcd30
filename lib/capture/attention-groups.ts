/**
 * Chooses the entries of the attention patterns that a batch measures: those of every term's positive and negative
 * keys.
 */

import type { EncodedLabels, EncodedPrompt } from './encode.js'

/** A query and a set of keys of one run. */
export interface AttentionGroup {
  /** Index of the contrast. */
  contrast: number
  side: 'positive' | 'negative'
  /** Index of the batch's run. */
  run: number
  query: number
  keys: readonly number[]
  /** Index of its label sequence in the batch. Absent for explicit terms. */
  sequence?: number
}

/** Most queries of a label sequence that are measured, evenly spaced, since its patterns may be long. */
const MOST_LABELLED_QUERIES = 32

/**
 * Two groups per term, positive then negative, in the order of the terms in `layTerms`. Groups of label queries that
 * have both sides follow.
 */
export function attentionGroups(
  prompts: readonly EncodedPrompt[],
  contrasts: readonly string[],
): AttentionGroup[] {
  const groups: AttentionGroup[] = []
  const labelled: AttentionGroup[] = []
  let sequence = 0
  let run = 0
  for (const { runs, rules } of prompts) {
    for (const rule of rules) {
      const contrast = contrasts.indexOf(rule.contrast)
      for (const { query, positive, queryNeg, negative } of rule.terms ?? []) {
        const other = run + (rule.counterfactual ? 1 : 0)
        groups.push({ contrast, side: 'positive', run, query, keys: positive })
        groups.push({ contrast, side: 'negative', run: other, query: queryNeg, keys: negative })
      }
      if (rule.labels) {
        labelled.push(...labelGroups(rule.labels, { contrast, run, sequence }))
        sequence += 1
      }
    }
    run += runs.length
  }
  return [...groups, ...labelled]
}

/** Two groups per measured query, positive then negative. */
function labelGroups(
  labels: EncodedLabels,
  place: Pick<AttentionGroup, 'contrast' | 'run' | 'sequence'>,
): AttentionGroup[] {
  return someQueries(labels).flatMap(({ query, positive, negative }): AttentionGroup[] => [
    { ...place, side: 'positive', query, keys: positive },
    { ...place, side: 'negative', query, keys: negative },
  ])
}

function someQueries({ query, key, causal }: EncodedLabels) {
  const found = [...query.keys()].flatMap((i) => {
    if (query[i] < 0) {
      return []
    }
    const visible = [...key.keys()].filter((j) => key[j] >= 0 && (causal ? j < i : j !== i))
    const positive = visible.filter((j) => key[j] === query[i])
    const negative = visible.filter((j) => key[j] !== query[i])
    return positive.length > 0 && negative.length > 0 ? [{ query: i, positive, negative }] : []
  })
  const step = Math.max(1, found.length / MOST_LABELLED_QUERIES)
  return found.filter((_, i) => Math.floor(i / step) !== Math.floor((i - 1) / step))
}

/** A group with the indices of its entries among all that a batch captures. */
export interface MeasuredGroup extends AttentionGroup {
  from: number
  to: number
}

/** Assigns indices to entries, run after run, and lists each run's cells. */
export class CellPlan {
  readonly groups: MeasuredGroup[]
  readonly #byRun = new Map<number, MeasuredGroup[]>()
  #count = 0

  constructor(groups: readonly AttentionGroup[]) {
    this.groups = groups.map((group) => ({ ...group, from: 0, to: 0 }))
    for (const group of this.groups) {
      const own = this.#byRun.get(group.run) ?? []
      own.push(group)
      this.#byRun.set(group.run, own)
    }
  }

  /**
   * The cells of an inference with these runs, as int64 [n, 4]. An inference without cells gets one, to which no group
   * refers.
   */
  cellsOf(members: readonly number[]): number[] {
    const cells: number[] = []
    members.forEach((run, b) => {
      for (const group of this.#byRun.get(run) ?? []) {
        group.from = this.#count
        for (const key of group.keys) {
          cells.push(b, group.query, key, 0)
        }
        this.#count += group.keys.length
        group.to = this.#count
      }
    })
    if (cells.length === 0) {
      cells.push(0, 0, 0, 0)
      this.#count += 1
    }
    return cells
  }
}
