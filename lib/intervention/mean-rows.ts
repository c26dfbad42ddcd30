/** Mean queries and keys of chosen heads over a prompt set. */

import type { ChosenHead } from '../capture/terms/chosen-heads.js'
import type { Prompts } from '../contrast/prompt-set.js'
import { accumulate } from '../covariance/accumulate.js'
import { disposeSums } from '../covariance/sums.js'
import type { Model } from '../model/model.js'
import { headName } from '../model/sites/site.js'

/** Mean of the positive keys, or of the queries, of every head over the prompt set. */
export async function meanRows(
  model: Model,
  prompts: Prompts,
  { side, signal, batchSize }: { side: 'key' | 'query'; batchSize: number; signal?: AbortSignal },
  heads: readonly ChosenHead[],
): Promise<Float64Array[]> {
  const sums = await accumulate(model, prompts, {
    heads: heads.map(({ name }) => name).join(','),
    estimator: 'per-pair',
    batchSize,
    signal,
  })
  try {
    const means = new Map<string, Float64Array>()
    for (const { site, groups } of sums.sites) {
      for (const group of groups) {
        const { positive } = await group.covariance.moments()
        const rows = side === 'key' ? positive.k : positive.q
        const d = site.headDim
        const weight = positive.weight.reduce((a, b) => a + b, 0)
        group.heads.forEach((head, h) => {
          const mean = new Float64Array(d)
          for (let c = 0; c < positive.weight.length; c++) {
            const from = (c * group.heads.length + h) * d
            for (let i = 0; i < d; i++) {
              mean[i] += rows[from + i] / weight
            }
          }
          means.set(headName(site, head), mean)
        })
      }
    }
    return heads.map(({ name }) => means.get(name)!)
  } finally {
    disposeSums(sums)
  }
}
