/** Simulated label sequences: labels that say nothing of the activations, which correlate along the sequence. */

/** @import { LabelsInput, TensorInput } from '../../dist/index.js' */

const CLASSES = 3
/** Correlation of neighbouring positions. */
const ALONG = 0.8
/** Probability that a sticky label stays, and that an alternating one changes. */
const STAYS = 0.9

const LABELS = {
  independent: (random) => () => random.below(CLASSES),
  sticky: (random) => {
    let label = random.below(CLASSES)
    return () => {
      if (random.next() > STAYS) {
        label = random.below(CLASSES)
      }
      return label
    }
  },
  /** The first class is rare at the start of a sequence and frequent at its end. */
  drifting: (random) => (at, length) => (random.next() < (at + 1) / (length + 1) ? 0 : 1),
  /** Two classes by turns, with a slip now and then: without slips no exchange of labels would change which ones match. */
  alternating: (random) => {
    let label = random.below(2)
    return () => {
      if (random.next() < STAYS) {
        label = 1 - label
      }
      return label
    }
  },
}

/**
 * `sequences` of `length` tokens (`mixed`: from a third of it to all of it), whose queries see the keys before them.
 * `trend`: activations also have a mean that depends on the position. `signal`: queries and keys also have the vector of
 * their class, of this standard deviation a coordinate.
 *
 * @param {any} random
 * @param {Record<string, any>} options
 * @returns {{ q: TensorInput, k: TensorInput, labels: Omit<LabelsInput, 'contrast'>[], exchangeable?: boolean }}
 */
export function labelSequences(random, options) {
  const { heads, d, units, length, labels, mixed, trend, exchangeable, signal } = options
  const width = heads * d
  const q = new Float32Array(units * length * width)
  const k = new Float32Array(units * length * width)
  for (const data of [q, k]) {
    fillAlong(random, data, length, width)
  }
  if (trend) {
    for (const data of [q, k]) {
      addTrend(random, data, length, width)
    }
  }
  const vector = () => Float64Array.from({ length: width }, () => (signal ?? 0) * random.normal())
  const classes = Array.from({ length: CLASSES }, () => ({ query: vector(), key: vector() }))
  const sequences = Array.from({ length: units }, (_, s) => {
    const size = mixed ? length - random.below((2 * length) / 3) : length
    const label = LABELS[labels](random)
    const rows = Array.from({ length: size }, (_, i) => s * length + i)
    const drawn = rows.map((_, i) => label(i, size))
    if (signal) {
      for (const [at, row] of rows.entries()) {
        const of = classes[drawn[at]]
        for (let i = 0; i < width; i++) {
          q[row * width + i] += of.query[i]
        }
        for (let i = 0; i < width; i++) {
          k[row * width + i] += of.key[i]
        }
      }
    }
    const keyScope = /** @type {const} */ ('before')
    return { queryRows: rows, keyRows: rows, queryLabels: drawn, keyLabels: drawn, keyScope }
  })
  return {
    q: { data: q, dtype: 'f32', shape: [units, length, heads, d] },
    k: { data: k, dtype: 'f32', shape: [units, length, heads, d] },
    labels: sequences,
    ...(exchangeable && { exchangeable: true }),
  }
}

function fillAlong(random, data, length, width) {
  const fresh = Math.sqrt(1 - ALONG ** 2)
  for (let i = 0; i < data.length; i++) {
    const start = i % (length * width) < width
    data[i] = start ? random.normal() : ALONG * data[i - width] + fresh * random.normal()
  }
}

/** A mean that turns from one random vector into another along the sequence. */
function addTrend(random, data, length, width) {
  const ends = [0, 1].map(() => Float64Array.from({ length: width }, random.normal))
  for (let i = 0; i < data.length; i++) {
    const along = Math.floor((i % (length * width)) / width) / length
    const c = i % width
    data[i] += Math.cos((Math.PI / 2) * along) * ends[0][c] + Math.sin((Math.PI / 2) * along) * ends[1][c]
  }
}
