/**
 * Simulated queries, keys and explicit terms. Every head of a call has data of its own, so that one call of `testRank`
 * tests as many independent data sets as it has heads.
 */

/** Correlation of neighbouring dimensions of coloured noise. */
const COLOUR = 0.8
const SHARED = Math.SQRT1_2

/**
 * Options of a data set, all but `units` and `d` optional:
 *
 * - `noise`: 'gaussian', 't3', 'coloured' (neighbouring dimensions correlate by 0.8);
 * - `perPrompt`: terms a prompt; the prompt is the unit. `offset`: the queries and the positive keys of a prompt share a
 *   random offset. `sharedKeys`: the terms of a prompt have the same key rows;
 * - `negatives`: negative keys a term, or [least, most];
 * - `means`: queries and keys have a mean that is not zero;
 * - `positiveScale`: factor of the positive keys' noise;
 * - `outlier`: factor of the queries and keys of the first unit. `scales`: those of every unit, and head, have a factor of
 *   their own, lognormal with this standard deviation (both with one term a prompt);
 * - `keyOffset`: a constant that positive keys have and negative ones don't;
 * - `counterfactual`: the negative half has queries and keys of a second run, which share a part with those of the first;
 * - `plant`: of each head the singular values of the expected ΔC, along random directions;
 * - `group`: query heads that share a key head. `common`: all heads share half of the variance of their noise (not with
 *   `group` and `plant`: a head without a signal would have a part of the query of one with a signal in its keys);
 * - `unit`: 'term' makes each term its own unit, which is wrong where terms of a prompt share an offset.
 *
 * @param {any} random
 * @param {{ d: number, units: number } & Record<string, any>} options
 * @returns {import('../../dist/index.js').TestRankOptions}
 */
export function explicitTerms(random, options) {
  const {
    heads,
    d,
    units,
    perPrompt = 1,
    negatives = 1,
    sharedKeys = false,
    counterfactual = false,
  } = options
  const kvHeads = heads / (options.group ?? 1)
  const sets = Array.from({ length: sharedKeys ? units : units * perPrompt }, () => {
    const [least, most] = Array.isArray(negatives) ? negatives : [negatives, negatives]
    return least + random.below(most - least + 1)
  })
  const terms = units * perPrompt
  const runs = counterfactual ? 2 : 1
  const draw = noiseOf(random, options)
  const q = rows(terms * runs, heads * d, draw)
  const keys = sets.reduce((sum, count) => sum + 1 + count, 0)
  const k = rows(keys, kvHeads * d, draw)
  const firstKey = []
  sets.reduce((at, count) => {
    firstKey.push(at)
    return at + 1 + count
  }, 0)
  addStructure(random, q, k, { ...options, terms, perPrompt, sharedKeys, firstKey, keys, kvHeads })
  const setOf = (term) => (sharedKeys ? Math.floor(term / perPrompt) : term)
  const positions = range(terms)
  const pos = positions.map((t) => firstKey[setOf(t)])
  const neg = positions.flatMap((t) => range(sets[setOf(t)]).map((i) => firstKey[setOf(t)] + 1 + i))
  const negOffsets = [0]
  for (const t of positions) {
    negOffsets.push(negOffsets[t] + sets[setOf(t)])
  }
  return {
    q: { data: q, dtype: 'f32', shape: [units, perPrompt * runs, heads, d] },
    k: { data: k, dtype: 'f32', shape: [keys, 1, kvHeads, d] },
    terms: {
      query: positions.map((t) => (counterfactual ? 2 * t : t)),
      ...(counterfactual && { queryNeg: positions.map((t) => 2 * t + 1) }),
      pos,
      posOffsets: range(terms + 1),
      neg,
      negOffsets,
    },
    units: positions.map((t) => (options.unit === 'term' ? t : Math.floor(t / perPrompt))),
    estimator: options.estimator ?? 'per-query',
    ...(options.exchangeable && { exchangeable: true }),
  }
}

/** What the options make of plain noise, one after the other: the order decides which numbers are drawn for what. */
function addStructure(random, q, k, options) {
  const { heads, d, kvHeads, firstKey } = options
  const widths = { q: heads * d, k: kvHeads * d }
  if (options.common) {
    shareNoise(random, q, widths.q, d)
    shareNoise(random, k, widths.k, d)
  }
  if (options.counterfactual) {
    shareRuns(random, q, widths.q)
    shareRuns(random, k, widths.k)
  }
  if (options.positiveScale) {
    for (const at of firstKey) {
      scaleRow(k, at, widths.k, options.positiveScale)
    }
  }
  if (options.offset) {
    addOffsets(random, q, k, { ...options, widths })
  }
  if (options.means) {
    addMeans(random, q, k, widths)
  }
  if (options.outlier || options.scales) {
    scaleUnits(random, q, k, options)
  }
  if (options.keyOffset) {
    const constant = rows(1, widths.k, () => options.keyOffset * random.normal())
    for (const at of firstKey) {
      addRow(k, at * widths.k, constant, 0, widths.k)
    }
  }
  if (options.plant) {
    plantSignal(random, q, k, options)
  }
}

function scaleUnits(random, q, k, { firstKey, keys, heads, d, outlier = 1, scales = 0 }) {
  firstKey.forEach((from, unit) => {
    const to = firstKey[unit + 1] ?? keys
    for (let h = 0; h < heads; h++) {
      const by = (unit === 0 ? outlier : 1) * Math.exp(scales * random.normal())
      const scale = (data, row) => {
        for (let i = (row * heads + h) * d; i < (row * heads + h + 1) * d; i++) {
          data[i] *= by
        }
      }
      scale(q, unit)
      for (let row = from; row < to; row++) {
        scale(k, row)
      }
    }
  })
}

/**
 * Units whose matrices are one matrix times a skewed number of mean 0, which breaks the symmetry that flips assume:
 * `weight` 'lognormal' (of a standard normal) or 'exponential'. The mean query is not zero, so only the effect has a null.
 */
export function skewedUnits(random, { heads, d, units, weight }) {
  const width = heads * d
  const [a, b] = [rows(1, width, random.normal), rows(1, width, random.normal)]
  const skewed =
    weight === 'lognormal' ? () => Math.exp(random.normal()) - Math.exp(0.5) : () => random.exponential() - 1
  const q = new Float32Array(units * width)
  const k = new Float32Array(2 * units * width)
  for (let u = 0; u < units; u++) {
    q.set(a, u * width)
    for (let h = 0; h < heads; h++) {
      const by = skewed()
      for (let i = h * d; i < (h + 1) * d; i++) {
        k[2 * u * width + i] = by * b[i]
      }
    }
  }
  const terms = range(units)
  return {
    q: { data: q, dtype: 'f32', shape: [units, 1, heads, d] },
    k: { data: k, dtype: 'f32', shape: [2 * units, 1, heads, d] },
    terms: {
      query: terms,
      pos: terms.map((t) => 2 * t),
      posOffsets: range(units + 1),
      neg: terms.map((t) => 2 * t + 1),
      negOffsets: range(units + 1),
    },
  }
}

/** `count` orthonormal columns [d, count], column by column. */
export function orthonormal(random, d, count) {
  const columns = []
  while (columns.length < count) {
    const x = Float64Array.from({ length: d }, random.normal)
    for (let pass = 0; pass < 2; pass++) {
      for (const other of columns) {
        const along = x.reduce((sum, value, i) => sum + value * other[i], 0)
        for (let i = 0; i < d; i++) {
          x[i] -= along * other[i]
        }
      }
    }
    const norm = Math.hypot(...x)
    columns.push(x.map((value) => value / norm))
  }
  return columns
}

export const range = (n) => Array.from({ length: n }, (_, i) => i)

function noiseOf(random, { noise = 'gaussian', d }) {
  if (noise === 't3') {
    return random.t3
  }
  if (noise === 'gaussian') {
    return random.normal
  }
  let [last, at] = [0, 0]
  return () => {
    last = at === 0 ? random.normal() : COLOUR * last + Math.sqrt(1 - COLOUR ** 2) * random.normal()
    at = (at + 1) % d
    return last
  }
}

function rows(count, width, draw) {
  const out = new Float32Array(count * width)
  for (let i = 0; i < out.length; i++) {
    out[i] = draw()
  }
  return out
}

function addRow(to, at, from, start, width) {
  for (let i = 0; i < width; i++) {
    to[at + i] += from[start + i]
  }
}

function scaleRow(data, row, width, by) {
  for (let i = row * width; i < (row + 1) * width; i++) {
    data[i] *= by
  }
}

/** Rows 2 i and 2 i + 1, the two runs of a prompt, get a common part. */
function shareRuns(random, data, width) {
  for (let at = 0; at < data.length; at += 2 * width) {
    for (let i = at; i < at + width; i++) {
      const common = SHARED * random.normal()
      data[i] = SHARED * data[i] + common
      data[i + width] = SHARED * data[i + width] + common
    }
  }
}

/** Half of the variance of every row becomes the same in all heads. */
function shareNoise(random, data, width, d) {
  for (let at = 0; at < data.length; at += width) {
    const common = Float64Array.from({ length: d }, random.normal)
    for (let i = 0; i < width; i++) {
      data[at + i] = SHARED * (data[at + i] + common[i % d])
    }
  }
}

function addOffsets(random, q, k, { terms, perPrompt, firstKey, sharedKeys, widths }) {
  for (let term = 0; term < terms; term += perPrompt) {
    const [ofQuery, ofKey] = [rows(1, widths.q, random.normal), rows(1, widths.k, random.normal)]
    for (let t = term; t < term + perPrompt; t++) {
      addRow(q, t * widths.q, ofQuery, 0, widths.q)
      if (!sharedKeys) {
        addRow(k, firstKey[t] * widths.k, ofKey, 0, widths.k)
      }
    }
    if (sharedKeys) {
      addRow(k, firstKey[term / perPrompt] * widths.k, ofKey, 0, widths.k)
    }
  }
}

/** Means of unit variance a coordinate for queries, of variance 4 for keys: both sides of a contrast have the same. */
function addMeans(random, q, k, widths) {
  const ofQuery = rows(1, widths.q, random.normal)
  const ofKey = rows(1, widths.k, () => 2 * random.normal())
  for (let at = 0; at < q.length; at += widths.q) {
    addRow(q, at, ofQuery, 0, widths.q)
  }
  for (let at = 0; at < k.length; at += widths.k) {
    addRow(k, at, ofKey, 0, widths.k)
  }
}

/** Positive keys become k + sum_i s_i (q · u_i) v_i, so that the expected ΔC is sum_i s_i u_i v_i^T for white queries. */
export function plantSignal(random, q, k, { terms, firstKey, heads, kvHeads, d, plant }) {
  for (let h = 0; h < heads; h++) {
    const values = plant[h]
    if (values.length === 0) {
      continue
    }
    const u = orthonormal(random, d, values.length)
    const v = orthonormal(random, d, values.length)
    const keyHead = Math.floor(h / (heads / kvHeads))
    for (let t = 0; t < terms; t++) {
      const query = (t * heads + h) * d
      const key = (firstKey[t] * kvHeads + keyHead) * d
      values.forEach((s, c) => {
        let along = 0
        for (let i = 0; i < d; i++) {
          along += q[query + i] * u[c][i]
        }
        for (let i = 0; i < d; i++) {
          k[key + i] += s * along * v[c][i]
        }
      })
    }
  }
}
