/** Weights of queries, keys and values side by side, as one projection has them. */

/**
 * Shape and values [width, sum of columns] of wq, wk and wv, whose columns are given.
 * @returns {[[number, number], Float64Array]}
 */
export function packedWeights({ wq, wk, wv }, columns, width) {
  const total = columns.reduce((a, b) => a + b, 0)
  const all = new Float64Array(width * total)
  for (let row = 0; row < width; row++) {
    let at = row * total
    for (const [i, part] of [wq, wk, wv].entries()) {
      all.set(part.subarray(row * columns[i], (row + 1) * columns[i]), at)
      at += columns[i]
    }
  }
  return [[width, total], all]
}
