/** Seeded numbers for the arithmetic tests. */

/** Uniform in [0, 1) (mulberry32). */
export function uniform(seed) {
  let a = seed >>> 0
  return () => {
    a = (a + 0x6d2b79f5) >>> 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Standard normal (Box-Muller). */
export function normal(seed) {
  const next = uniform(seed)
  return () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())
}

/** `count` orthonormal columns of length n (Gram-Schmidt, twice). */
export function orthonormal(n, count, seed) {
  const next = normal(seed)
  const columns = []
  while (columns.length < count) {
    const x = Float64Array.from({ length: n }, next)
    for (let pass = 0; pass < 2; pass++) {
      for (const y of columns) {
        let along = 0
        for (let i = 0; i < n; i++) {
          along += x[i] * y[i]
        }
        for (let i = 0; i < n; i++) {
          x[i] -= along * y[i]
        }
      }
      const length = Math.hypot(...x)
      for (let i = 0; i < n; i++) {
        x[i] /= length
      }
    }
    columns.push(x)
  }
  return columns
}

/** rows x cols matrix with the given singular values, row-major f64. */
export function withSpectrum(rows, cols, spectrum, seed) {
  const u = orthonormal(rows, spectrum.length, seed)
  const v = orthonormal(cols, spectrum.length, seed + 1)
  const a = new Float64Array(rows * cols)
  spectrum.forEach((s, c) => {
    if (s === 0) {
      return
    }
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < cols; j++) {
        a[i * cols + j] += s * u[c][i] * v[c][j]
      }
    }
  })
  return a
}
