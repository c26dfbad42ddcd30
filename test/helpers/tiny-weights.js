/** The weights of the tiny models, and their queries and keys by formula. */

import { seededRandom } from '../../dist/math/random.js'
import { restoredWeights } from './quantised-weights.js'

export const TINY = { vocabulary: 20, width: 16, heads: 4, kvHeads: 2, headDim: 4 }

/** Sizes of a model: those of TINY, unless options of the same names say otherwise. */
export function tinySizes(options) {
  const given = Object.keys(TINY).filter((size) => options[size] !== undefined)
  return { ...TINY, ...Object.fromEntries(given.map((size) => [size, options[size]])) }
}

/**
 * Row-major: table [vocabulary, width], wq [width, heads * d], and so on; biases bq [heads * d], ..., zero unless
 * `bias`. `nanToken` poisons one embedding. Weights are what `weights` (quantised-weights.js) leaves of them.
 */
export function tinyWeights(options) {
  const { seed = 1, nanToken, bias = false, weights: format = 'float' } = options
  const { vocabulary, width, heads, kvHeads, headDim: d } = tinySizes(options)
  const random = seededRandom(seed)
  const draw = (size, deviation) => Float64Array.from({ length: size }, () => random.normal() * deviation)
  const projection = (columns) => restoredWeights(draw(width * columns, 0.5), [width, columns], format)
  const table = draw(vocabulary * width, 1)
  if (nanToken !== undefined) {
    table[nanToken * width] = Number.NaN
  }
  const [wq, wk, wv] = [heads, kvHeads, kvHeads].map((n) => projection(n * d))
  const wo = draw(heads * d * width, 0.5)
  const [bq, bk, bv] = [heads, kvHeads, kvHeads].map((n) => draw(n * d, bias ? 0.5 : 0))
  return { table, wq, wk, wv, wo, bq, bk, bv }
}

/** cos or sin of the angles of RoPE, [positions, columns]; the angles repeat after half a head. */
export function rotaryTable(f, { positions = 64, columns, headDim }) {
  const half = headDim / 2
  return Float64Array.from({ length: positions * columns }, (_, i) =>
    f(Math.floor(i / columns) / 10 ** (((i % columns) % half) / half)),
  )
}

/** Queries [pos][head][d] and keys [pos][kvHead][d] in float64, by formula. */
export function tinyReference(tokens, options = {}) {
  const { rope = true, norm = false } = options
  const { width, heads, kvHeads, headDim: d } = tinySizes(options)
  const { table, wq, wk, bq, bk } = tinyWeights(options)
  const cos = rotaryTable(Math.cos, { columns: d, headDim: d })
  const sin = rotaryTable(Math.sin, { columns: d, headDim: d })
  const project = (w, bias, n, token, position) =>
    Array.from({ length: n }, (_, h) => {
      let row = Array.from({ length: d }, (_, c) => {
        let sum = bias[h * d + c]
        for (let i = 0; i < width; i++) {
          sum += table[token * width + i] * w[i * n * d + h * d + c]
        }
        return sum
      })
      if (norm) {
        const root = Math.sqrt(row.reduce((s, v) => s + v * v, 0) / d + 1e-3)
        row = row.map((v) => v / root)
      }
      if (!rope) {
        return row
      }
      const half = d / 2
      return row.map((value, c) => {
        const turned = c < half ? -row[c + half] : row[c - half]
        return value * cos[position * d + c] + turned * sin[position * d + c]
      })
    })
  return {
    q: tokens.map((token, t) => project(wq, bq, heads, token, t)),
    k: tokens.map((token, t) => project(wk, bk, kvHeads, token, t)),
  }
}
