/** Sequences of the bundled induction model, drawn as `scripts/training/train_induction.py` draws them. */

import { seededRandom } from '../../dist/math/random.js'

/**
 * `count` sequences of random tokens in which one segment comes twice. `second` is where its second copy begins,
 * `segment` its length.
 */
export function inductionSequences({ vocabulary, length, segment: segments, gap: gaps }, count, seed) {
  const random = seededRandom(seed)
  const between = ([least, most]) => least + random.below(most - least + 1)
  return Array.from({ length: count }, () => {
    const tokens = Array.from({ length }, () => random.below(vocabulary))
    const segment = between(segments)
    const distance = segment + between(gaps)
    const first = random.below(length - distance - segment + 1)
    const second = first + distance
    for (let i = 0; i < segment; i++) {
      tokens[second + i] = tokens[first + i]
    }
    return { tokens, second, segment }
  })
}

/** int64 inputs of a batch of sequences of equal length, all visible. */
export function inductionInputs(sequences) {
  const shape = [sequences.length, sequences[0].tokens.length]
  const ids = BigInt64Array.from(
    sequences.flatMap(({ tokens }) => tokens),
    BigInt,
  )
  return {
    input_ids: { data: ids, shape },
    attention_mask: { data: new BigInt64Array(ids.length).fill(1n), shape },
  }
}

/**
 * What each head of one layer attends to, from its pattern [batch, head, query, key]: means over queries of the total
 * attention on some of their keys, as `attention` of induction.json says.
 * @param {any[]} sequences
 * @param {import('../../dist/index.js').CapturedTensor} pattern
 */
export function plainAttention(sequences, { data, shape: [, heads, length] }) {
  return Array.from({ length: heads }, (_, head) => {
    const means = { previous: mean(), same: mean(), induction: mean(), first: mean() }
    sequences.forEach(({ tokens, second, segment }, s) => {
      for (let i = 1; i < length; i++) {
        const row = data.subarray(((s * heads + head) * length + i) * length)
        const on = (isKey) => tokens.reduce((sum, _, j) => (j <= i && isKey(j) ? sum + row[j] : sum), 0)
        means.previous.add(row[i - 1])
        if (i >= 4) {
          means.first.add(row[0])
        }
        if (tokens.indexOf(tokens[i]) < i) {
          means.same.add(on((j) => j < i && tokens[j] === tokens[i]))
        }
        if (i >= second && i < second + segment) {
          means.induction.add(on((j) => j > 0 && tokens[j - 1] === tokens[i]))
        }
      }
    })
    return Object.fromEntries(Object.entries(means).map(([name, { value }]) => [name, value()]))
  })
}

function mean() {
  let [sum, count] = [0, 0]
  return {
    add: (x) => {
      sum += x
      count++
    },
    value: () => sum / count,
  }
}
