/** Parts of row-major matrices. */

/** Columns [0, count) of a matrix [rows, width]. */
export function firstColumns(matrix: Float64Array, width: number, count: number): Float64Array {
  const rows = width === 0 ? 0 : matrix.length / width
  const out = new Float64Array(rows * count)
  for (let row = 0; row < rows; row++) {
    for (let c = 0; c < count; c++) {
      out[row * count + c] = matrix[row * width + c]
    }
  }
  return out
}
