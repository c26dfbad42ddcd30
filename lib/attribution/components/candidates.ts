/** The queries and keys that a batch of terms adds for each feature, every one of them once. */

import type { TermRun } from '../../capture/terms/term-runs.js'

/** What a term adds to the candidates of a feature. */
export interface Added {
  /** Whether its query has not been one before. */
  query: boolean
  /** Of keys the first that has not been one before, where later ones are masked, and where all are seen. */
  firstKey: { causal: number; whole: number }
  /** Whether the prompt has had keys before, of which the term may say more. */
  again: boolean
}

interface Seen {
  queries: Set<number>
  keys: { causal: number; whole: number }
}

/**
 * Remembers of the latest prompts which queries and keys have been candidates of a feature. Terms of a prompt come close
 * together: at most two groups of batches apart.
 */
export class Candidates {
  private readonly seen = new Map<number, Seen>()

  /** `batch`: items in a group. */
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
