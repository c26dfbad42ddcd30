/** The toy model in the textbook's order, with keys and values formed; one sample, all float64. */

/** a [n, m] times b [m, k], row-major. */
function product(a, b, n, m, k) {
  const out = new Float64Array(n * k)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < k; j++) {
      for (let l = 0; l < m; l++) {
        out[i * k + j] += a[i * m + l] * b[l * k + j]
      }
    }
  }
  return out
}

/** Logits [payloads] of one query [dModel] and its context [tokens, dModel]. */
export function textbookLogits({ dModel, dHead, payloads }, weights, query, tokens) {
  const context = tokens.length / dModel
  const q = product(query, weights.wq, 1, dModel, dHead)
  const k = product(tokens, weights.wk, context, dModel, dHead)
  const v = product(tokens, weights.wv, context, dModel, dHead)
  const scores = product(k, q, context, dHead, 1).map((s) => s / Math.sqrt(dHead))
  const largest = Math.max(...scores)
  const grown = scores.map((s) => Math.exp(s - largest))
  const total = grown.reduce((a, b) => a + b, 0)
  const pattern = grown.map((e) => e / total)
  return product(product(pattern, v, 1, context, dHead), weights.wo, 1, dHead, payloads)
}
