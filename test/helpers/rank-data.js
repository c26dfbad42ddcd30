/** Arrays with what the test of rank should find in them, or nothing. */

import { normal } from './arithmetic-random.js'

/**
 * `units` prompts of `each` one-to-one terms over heads of dimension d: noise, plus in the first `planted` heads `rank`
 * latents that query and positive key share, at a strength.
 */
export function plantedTerms({
  units,
  each = 1,
  heads,
  d,
  planted = 0,
  rank = 1,
  strength = 1.5,
  mean = 0,
  seed,
}) {
  const next = normal(seed)
  const terms = units * each
  const q = Float32Array.from({ length: terms * heads * d }, () => mean + next())
  const k = Float32Array.from({ length: 2 * terms * heads * d }, () => mean + next())
  for (let t = 0; t < terms; t++) {
    for (let h = 0; h < planted; h++) {
      for (let c = 0; c < rank; c++) {
        const z = strength * next()
        q[(t * heads + h) * d + c] += z
        k[(2 * t * heads + h) * d + d - 1 - c] += z
      }
    }
  }
  const counting = (length, step = 1, from = 0) => Int32Array.from({ length }, (_, i) => from + i * step)
  return {
    q: { data: q, shape: [units, each, heads, d] },
    k: { data: k, shape: [units, 2 * each, heads, d] },
    terms: {
      query: counting(terms),
      pos: counting(terms, 2),
      posOffsets: counting(terms + 1),
      neg: counting(terms, 2, 1),
      negOffsets: counting(terms + 1),
    },
  }
}

/**
 * Some terms in another order.
 * @param {import('../../dist/index.js').TestRankOptions} data
 * @param {number[]} order
 */
export function reordered({ terms, ...rest }, order) {
  const pick = (array) => Int32Array.from(order, (t) => array[t])
  return {
    ...rest,
    terms: { ...terms, query: pick(terms.query), pos: pick(terms.pos), neg: pick(terms.neg) },
  }
}
