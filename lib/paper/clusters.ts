/** How well labelled rows fall into clusters: figures 3, 6 and 8 in numbers. */

export interface Labelled {
  /** [n, d] */
  rows: Float64Array
  d: number
  /** [n] */
  labels: readonly string[]
}

export interface Separation {
  /** Variance between the clusters over the total, on the held-out rows. */
  between: number
  /** Fraction of held-out rows whose nearest centroid, of the other rows, is that of their label. */
  accuracy: number
}

/** Centroids by label, each [d]. */
export function centroids({ rows, d, labels }: Labelled): Map<string, Float64Array> {
  const counts = new Map<string, number>()
  for (const label of labels) {
    counts.set(label, (counts.get(label) ?? 0) + 1)
  }
  const found = new Map([...counts.keys()].sort().map((label) => [label, new Float64Array(d)]))
  labels.forEach((label, row) => {
    const centroid = found.get(label)!
    for (let i = 0; i < d; i++) {
      centroid[i] += rows[row * d + i] / counts.get(label)!
    }
  })
  return found
}

export function separation(fitted: Labelled, held: Labelled): Separation {
  const { rows, d, labels } = held
  const known = centroids(fitted)
  const own = centroids(held)
  const overall = [...centroids({ rows, d, labels: labels.map(() => '') }).values()][0]
  let right = 0
  let between = 0
  let total = 0
  labels.forEach((label, row) => {
    const x = rows.subarray(row * d, (row + 1) * d)
    let nearest = ''
    let least = Number.POSITIVE_INFINITY
    for (const [name, centroid] of known) {
      const distance = squaredDistance(x, centroid)
      if (distance < least) {
        ;[nearest, least] = [name, distance]
      }
    }
    if (nearest === label) {
      right += 1
    }
    between += squaredDistance(own.get(label)!, overall)
    total += squaredDistance(x, overall)
  })
  return { between: total === 0 ? 0 : between / total, accuracy: right / labels.length }
}

/** The first half of the rows, and the second. */
export function halves({ rows, d, labels }: Labelled): [Labelled, Labelled] {
  const half = Math.floor(labels.length / 2)
  return [
    { rows: rows.subarray(0, half * d), d, labels: labels.slice(0, half) },
    { rows: rows.subarray(half * d), d, labels: labels.slice(half) },
  ]
}

/**
 * Part of the centroids' variance that is a sum of one effect a sign, c(σ) = c + sum_i σ_i e_i: 1 where they
 * are the corners of a parallelepiped. Labels are sign patterns, as in `+-+`.
 */
export function cornerFit(rows: Labelled): number {
  const corners = [...centroids(rows)]
  const [[pattern]] = corners
  const mean = new Float64Array(rows.d)
  for (const [, c] of corners) {
    for (let i = 0; i < rows.d; i++) {
      mean[i] += c[i] / corners.length
    }
  }
  let variance = 0
  for (const [, c] of corners) {
    variance += squaredDistance(c, mean) / corners.length
  }
  let explained = 0
  for (let bit = 0; bit < pattern.length; bit++) {
    const effect = new Float64Array(rows.d)
    for (const [label, c] of corners) {
      const sign = label[bit] === '+' ? 1 : -1
      for (let i = 0; i < rows.d; i++) {
        effect[i] += (sign * (c[i] - mean[i])) / corners.length
      }
    }
    explained += squaredDistance(effect, new Float64Array(rows.d))
  }
  return variance === 0 ? 0 : explained / variance
}

function squaredDistance(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) {
    sum += (a[i] - b[i]) ** 2
  }
  return sum
}
