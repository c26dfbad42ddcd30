/** Rows of some heads. */

/** The heads `wanted` of rows [rows, heads, d], in that order; a head may be repeated: [rows, wanted, d]. */
export function pickHeads(
  data: Float32Array,
  rows: number,
  heads: number,
  d: number,
  wanted: readonly number[],
): Float32Array {
  const out = new Float32Array(rows * wanted.length * d)
  for (let row = 0; row < rows; row++) {
    wanted.forEach((head, at) => {
      const from = (row * heads + head) * d
      out.set(data.subarray(from, from + d), (row * wanted.length + at) * d)
    })
  }
  return out
}
