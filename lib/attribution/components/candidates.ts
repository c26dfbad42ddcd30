/** The queries and keys that a batch of terms adds for each feature, each of them once. */

import type { TermRun } from '../../capture/terms/term-runs.js'

/** Candidates that a term adds for a feature. */
export interface Added {
  /** Whether its query is a new candidate. */
  query: boolean
  /** Index of the first new key: with a causal mask, and without one. */
  firstKey: { causal: number; whole: number }
  /** Whether keys of the prompt are candidates already. The term may add labels to them. */
  again: boolean
}

interface Seen {
  queries: Set<number>
  keys: { causal: number; whole: number }
}

/**
 * Remembers which queries and keys of recent prompts are candidates of a feature. Terms of a prompt come close
 * together: at most two groups of batches apart.
 */
export class Candidates {
  private readonly seen = new Map<number, Seen>()

  /** `batch`: number of items in a group. */
  constructor(private readonly batch: number) {}

  add({ prompt, query, run }: TermRun): Added {
    const known = this.seen.get(prompt)
    const seen = known ?? { queries: new Set(), keys: { causal: 0, whole: 0 } }
    // The latest come last.
    this.seen.delete(prompt)
    this.seen.set(prompt, seen)
    for (const old of this.seen.keys()) {
      if (this.seen.size <= 4 * this.batch) {
        break
      }
      this.seen.delete(old)
    }
    const added = { query: !seen.queries.has(query), firstKey: { ...seen.keys }, again: known !== undefined }
    seen.queries.add(query)
    seen.keys.causal = Math.max(seen.keys.causal, query + 1)
    seen.keys.whole = run.kind === 'tokens' ? run.ids.length : 0
    return added
  }
}
