/** The matrices of the rank test, from the moments of all prompts (docs/method.md, Rank 1, 3 and 4). */

import type { SideMoments } from '../../backend/backend.js'
import type { HeadGroup } from '../../covariance/site-plan.js'
import type { Sums } from '../../covariance/sums.js'
import type { GroupTest } from './test-sums.js'

/**
 * Turns `difference`, C+ - C- [contrasts, heads, d, d], into the tested matrix. For label sequences, the mean over
 * exchanged labels is subtracted. For `per-pair` and `sum`, the pooled mean of all keys is subtracted. For centred
 * counterfactuals, the pooled means of both sides are.
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
    // Number of pairs in each side's sums of keys. Under `per-query`, keys are means, and terms are counted.
    const pairs =
      sums.estimator === 'sum' ? kept!.contrast(c).pairs : [positive.weight[c], negative.weight[c]]
    for (let h = 0; h < heads.length; h++) {
      const at = (c * heads.length + h) * d
      const less = pooledPart(positive, negative, { c, at, d, pairs, center })
      for (let i = 0; i < d * d; i++) {
        out[at * d + i] -= less[i]
      }
    }
  })
  return out
}

/** The part of one head's difference that the pooled means subtract, [d, d]; its sums of rows begin at `at`. */
function pooledPart(
  positive: SideMoments,
  negative: SideMoments,
  {
    c,
    at,
    d,
    pairs,
    center,
  }: { c: number; at: number; d: number; pairs: readonly number[]; center: boolean },
): Float64Array {
  const mean = ({ weight, ...sums }: SideMoments, what: 'q' | 'k') =>
    Float64Array.from({ length: d }, (_, i) => sums[what][at + i] / (weight[c] || 1))
  const total = pairs[0] + pairs[1] || 1
  const pooled = (what: 'q' | 'k') =>
    Float64Array.from({ length: d }, (_, i) => (positive[what][at + i] + negative[what][at + i]) / total)
  const [plus, minus, pooledQuery] = [mean(positive, 'q'), mean(negative, 'q'), pooled('q')]
  const [up, down, pooledKey] = [mean(positive, 'k'), mean(negative, 'k'), pooled('k')]
  const part = new Float64Array(d * d)
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) {
      let less = (plus[i] - minus[i]) * pooledKey[j]
      if (center) {
        // C± is already centred by its own side's means. These are added back, and the pooled ones subtracted.
        less += pooledQuery[i] * (up[j] - down[j]) - (plus[i] * up[j] - minus[i] * down[j])
      }
      part[i * d + j] = less
    }
  }
  return part
}
