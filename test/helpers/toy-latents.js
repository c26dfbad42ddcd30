/** Reads the latents out of tokens and queries again. */

/**
 * Least squares: x with x E = v for the rows E of all encoders together, by the normal equations and
 * Gauss-Jordan elimination. Exact for vectors without noise.
 */
export function latentDecoder(encoders, dModel) {
  const rows = encoders.flatMap((e) =>
    Array.from({ length: e.length / dModel }, (_, i) => e.subarray(i * dModel, (i + 1) * dModel)),
  )
  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0)
  return (vector) => {
    const system = rows.map((row) => [...rows.map((other) => dot(row, other)), dot(row, vector)])
    system.forEach((pivotRow, p) => {
      const pivot = pivotRow[p]
      for (let c = 0; c < pivotRow.length; c++) {
        pivotRow[c] /= pivot
      }
      for (const row of system) {
        const factor = row === pivotRow ? 0 : row[p]
        for (let c = 0; c < row.length; c++) {
          row[c] -= factor * pivotRow[c]
        }
      }
    })
    return system.map((row) => row[row.length - 1])
  }
}
