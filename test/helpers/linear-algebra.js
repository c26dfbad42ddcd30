/** Readable float64 helpers that the tests compare against. */

/** Contrastive covariances of one head by the definition: loops over terms and pairs. */
export function naiveCovariances(terms, d, estimator = 'per-query') {
  const zero = () => Array.from({ length: d }, () => new Float64Array(d))
  const sides = { cPos: zero(), cNeg: zero() }
  let [pairsPos, pairsNeg] = [0, 0]
  for (const { q, qNeg = q, pos, neg } of terms) {
    const add = (c, query, keys) => {
      const weight = estimator === 'per-query' ? 1 / keys.length : 1
      for (const key of keys) {
        for (let i = 0; i < d; i++) {
          for (let j = 0; j < d; j++) {
            c[i][j] += weight * query[i] * key[j]
          }
        }
      }
    }
    add(sides.cPos, q, pos)
    add(sides.cNeg, qNeg, neg)
    pairsPos += pos.length
    pairsNeg += neg.length
  }
  const weights = estimator === 'per-pair' ? [pairsPos, pairsNeg] : [terms.length, terms.length]
  for (const row of sides.cPos) {
    for (let j = 0; j < d; j++) {
      row[j] /= weights[0]
    }
  }
  for (const row of sides.cNeg) {
    for (let j = 0; j < d; j++) {
      row[j] /= weights[1]
    }
  }
  return sides
}

/** max |a - b| / max |b| of two matrices given as rows or flat. */
export function relativeDifference(a, b) {
  const [x, y] = [
    Array.from(a).flatMap((r) => (r.length === undefined ? [r] : [...r])),
    Array.from(b).flatMap((r) => (r.length === undefined ? [r] : [...r])),
  ]
  if (x.length !== y.length) {
    return Number.POSITIVE_INFINITY
  }
  let largest = 0
  let difference = 0
  x.forEach((value, i) => {
    largest = Math.max(largest, Math.abs(y[i]))
    // A NaN anywhere is an infinite difference.
    difference = Number.isNaN(value - y[i])
      ? Number.POSITIVE_INFINITY
      : Math.max(difference, Math.abs(value - y[i]))
  })
  return largest === 0 ? difference : difference / largest
}

/** Projector onto the span of the columns of a basis [d, rank], as a full matrix. */
export const projector = ({ u, rank }, d) =>
  Array.from({ length: d * d }, (_, at) => {
    const [i, j] = [Math.floor(at / d), at % d]
    let sum = 0
    for (let c = 0; c < rank; c++) {
      sum += u[i * rank + c] * u[j * rank + c]
    }
    return sum
  })

/**
 * Scores with zero in place of masked ones, which are -10000, the lowest number or minus infinity by exporter: as they
 * are, they would drown every difference between the others.
 */
export const visibleScores = (scores) => Array.from(scores, (s) => (s < -5000 ? 0 : s))
