/**
 * Covariances straight from their definition, pair by pair in float64; shares no code with the package.
 * Beside each sum of q k^T it keeps the sum of |q||k|, which the accuracy contract is stated in.
 */

/** [batch, pos, heads, d] -> value of a row's entry, from plain nested access. */
export function entry(tensor, row, head, i) {
  const [, pos] = tensor.shape
  const [sb, st, sh, sd] = tensor.strides
  return tensor.values[Math.floor(row / pos) * sb + (row % pos) * st + head * sh + i * sd]
}

const ones = (keys) => keys.map(() => 1)

/** Pairs { c, side, q, k, w } with weights such that C = sum w q k^T / W; W by side and contrast. */
export function pairsOf(batch, estimator, contrasts) {
  const pairs = []
  const weight = { positive: new Float64Array(contrasts), negative: new Float64Array(contrasts) }
  const terms = new Float64Array(contrasts)
  const skipped = new Float64Array(contrasts)
  const add = (side, c, query, keys, keyWeights, w) => {
    const total = keyWeights.reduce((sum, a) => sum + a, 0)
    const share = estimator === 'per-query' ? w / total : w
    keys.forEach((k, j) => {
      pairs.push({ side, c, q: query, k, w: share * keyWeights[j] })
    })
    weight[side][c] += estimator === 'per-pair' ? w * total : w
  }
  const t = batch.terms
  for (let i = 0; t && i < t.query.length; i++) {
    const set = (offsets, from) => Array.from(from.slice(offsets[i], offsets[i + 1]))
    const w = t.weights ? t.weights[i] : 1
    const pos = set(t.posOffsets, t.pos)
    const neg = set(t.negOffsets, t.neg)
    const c = t.contrast[i]
    add('positive', c, t.query[i], pos, t.posWeights ? set(t.posOffsets, t.posWeights) : ones(pos), w)
    add(
      'negative',
      c,
      (t.queryNeg ?? t.query)[i],
      neg,
      t.negWeights ? set(t.negOffsets, t.negWeights) : ones(neg),
      w,
    )
    terms[c]++
  }
  for (const l of batch.labels ?? []) {
    l.queryRows.forEach((query, i) => {
      if (l.queryLabels[i] < 0) {
        return
      }
      const reached = Array.from(l.keyRows.keys()).filter((j) => {
        if (l.keyLabels[j] < 0) {
          return false
        }
        if (l.keyScope === 'before') {
          return l.keyPositions[j] < l.queryPositions[i]
        }
        return l.keyScope === 'all' || l.keyPositions[j] !== l.queryPositions[i]
      })
      const pos = reached.filter((j) => l.keyLabels[j] === l.queryLabels[i]).map((j) => l.keyRows[j])
      const neg = reached.filter((j) => l.keyLabels[j] !== l.queryLabels[i]).map((j) => l.keyRows[j])
      if (pos.length === 0 || neg.length === 0) {
        skipped[l.contrast]++
        return
      }
      add('positive', l.contrast, query, pos, ones(pos), 1)
      add('negative', l.contrast, query, neg, ones(neg), 1)
      terms[l.contrast]++
    })
  }
  return { pairs, weight, terms, skipped }
}

/** { positive, negative }: { qk, size } summed over the pairs, [contrasts, heads, d, d] each. */
export function pairSums(batch, spec, pairs) {
  const { heads, kvHeads, headDim: d, contrasts } = spec
  const length = contrasts * heads * d * d
  const side = () => ({ qk: new Float64Array(length), size: new Float64Array(length) })
  const out = { positive: side(), negative: side() }
  for (const p of pairs) {
    for (let h = 0; h < heads; h++) {
      const kv = Math.floor(h / (heads / kvHeads))
      for (let i = 0; i < d; i++) {
        const q = p.w * entry(batch.q, p.q, h, i)
        for (let j = 0; j < d; j++) {
          const x = q * entry(batch.k, p.k, kv, j)
          const at = ((p.c * heads + h) * d + i) * d + j
          out[p.side].qk[at] += x
          out[p.side].size[at] += Math.abs(x)
        }
      }
    }
  }
  return out
}

/** { q, k }: rows of one side summed with the weights of their pairs, [heads, d] each, of one contrast. */
export function rowSums(batch, { heads, kvHeads, headDim: d }, pairs, side) {
  const out = { q: new Float64Array(heads * d), k: new Float64Array(heads * d) }
  for (const p of pairs.filter((pair) => pair.side === side)) {
    for (let h = 0; h < heads; h++) {
      const kv = Math.floor(h / (heads / kvHeads))
      for (let i = 0; i < d; i++) {
        out.q[h * d + i] += p.w * entry(batch.q, p.q, h, i)
        out.k[h * d + i] += p.w * entry(batch.k, p.k, kv, i)
      }
    }
  }
  return out
}
