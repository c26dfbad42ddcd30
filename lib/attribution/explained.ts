/** How much of a head's scores its features explain: collected row by row, reported with intervals over prompts. */

import type { TermRun } from '../capture/terms/term-runs.js'
import { bootstrapMean, bootstrapRatio, type Estimate } from '../math/bootstrap.js'
import type { AttributedRows } from './attribute-rows.js'

/** How much of one head's scores the features explain. */
export interface HeadExplained {
  /** Mean over rows of 1 - ||K q_rest||^2 / ||K q||^2. */
  mean: Estimate
  /** The same of all rows together: 1 less the ratio of the sums. */
  energy: Estimate
  /** Mean over rows of each feature's share of the energy of the parts, <part, total> / ||total||^2. */
  share: Record<string, Estimate>
}

/** Figures of one head, row by row. */
export class ExplainedColumns {
  private readonly prompts: number[] = []
  private readonly explainedRows: number[] = []
  private readonly energies: { total: number; rest: number }[] = []
  private readonly shares: Record<string, number[]>

  constructor(features: readonly string[]) {
    this.shares = Object.fromEntries(features.map((name) => [name, []]))
  }

  add(items: readonly TermRun[], { total, parts, explained, mask, keys }: AttributedRows): void {
    items.forEach(({ prompt }, r) => {
      // A row without any energy has nothing to explain.
      if (Number.isNaN(explained[r])) return
      const along = (values: Float64Array) => {
        let sum = 0
        for (let at = r * keys; at < (r + 1) * keys; at++) if (mask[at]) sum += values[at] * total[at]
        return sum
      }
      const energy = along(total)
      this.prompts.push(prompt)
      this.explainedRows.push(explained[r])
      this.energies.push({ total: energy, rest: (1 - explained[r]) * energy })
      for (const [name, list] of Object.entries(this.shares)) list.push(along(parts[name]) / energy)
    })
  }

  explained(seed: number): HeadExplained {
    const over = { groups: this.prompts, seed }
    const left = bootstrapRatio(
      this.energies.map(({ rest }) => rest),
      this.energies.map(({ total }) => total),
      over,
    )
    return {
      mean: bootstrapMean(this.explainedRows, over),
      energy: { mean: 1 - left.ratio, low: 1 - left.high, high: 1 - left.low },
      share: Object.fromEntries(
        Object.entries(this.shares).map(([name, list]) => [name, bootstrapMean(list, over)]),
      ),
    }
  }
}
