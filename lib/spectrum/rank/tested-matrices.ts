/** The matrices that the test of rank looks at, from the moments of all prompts (docs/method.md, Rank 1, 3 and 4). */

import type { HeadGroup } from '../../covariance/site-plan.js'
import type { Sums } from '../../covariance/sums.js'
import type { GroupTest } from './test-sums.js'

/**
 * `difference`, C+ - C- [contrasts, heads, d, d], as it is tested: of label sequences less what exchanged labels give, of
 * `per-pair` and `sum` with the pooled mean of all keys taken off, of centred counterfactuals with the pooled means of
 * both sides.
 */
export async function testedMatrices(
  sums: Sums,
  { covariance, heads, kept }: HeadGroup,
  difference: Float64Array,
  center: boolean,
  tests: readonly (GroupTest | undefined)[],
): Promise<Float64Array> {
  const d = covariance.spec.headDim
  const out = difference.slice()
  const { positive, negative } = await covariance.moments()
  const size = heads.length * d * d
  sums.contrasts.forEach((name, c) => {
    const matrices = tests[c]?.matrices
    if (matrices) {
      out.set(matrices, c * size)
      return
    }
    const counterfactual = sums.prompts.definitions[name].rule === 'counterfactual'
    if (sums.estimator === 'per-query' && !(center && counterfactual)) {
      return
    }
    if (center && !counterfactual) {
      return
    }
    // Pairs that each side's sums of keys hold: terms under `per-query`, where keys are means.
    const pairs =
      sums.estimator === 'sum' ? kept!.contrast(c).pairs : [positive.weight[c], negative.weight[c]]
    for (let h = 0; h < heads.length; h++) {
      const at = (c * heads.length + h) * d
      const pooledKey = pooled(positive.k, negative.k, at, d, pairs)
      const pooledQuery = pooled(positive.q, negative.q, at, d, pairs)
      for (let i = 0; i < d; i++) {
        const [plus, minus] = [positive, negative].map(({ q, weight }) => q[at + i] / (weight[c] || 1))
        for (let j = 0; j < d; j++) {
          let less = (plus - minus) * pooledKey[j]
          if (center) {
            const [up, down] = [positive, negative].map(({ k, weight }) => k[at + j] / (weight[c] || 1))
            // C± is centred by its own side's means already; put those back and take the pooled ones off.
            less += pooledQuery[i] * (up - down) - (plus * up - minus * down)
          }
          out[(at + i) * d + j] -= less
        }
      }
    }
  })
  return out
}

function pooled(
  positive: Float64Array,
  negative: Float64Array,
  at: number,
  d: number,
  pairs: readonly number[],
): Float64Array {
  const total = pairs[0] + pairs[1] || 1
  return Float64Array.from({ length: d }, (_, i) => (positive[at + i] + negative[at + i]) / total)
}
