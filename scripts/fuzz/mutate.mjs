/** Seeded changes of bytes, texts and JSON documents. `random` is that of `dist/math/random.js`. */

/** Numbers at which readers go wrong: limits of the integer types, and just beside them. */
const NUMBERS = [
  0,
  -1,
  1,
  2,
  3,
  7,
  127,
  128,
  255,
  256,
  32767,
  65535,
  65536,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53 - 1,
  2 ** 53,
  1e15,
  1e308,
  0.5,
  -0.5,
  -(2 ** 31),
]

const STRINGS = [
  '',
  ' ',
  'x',
  '0',
  '-1',
  'null',
  '__proto__',
  'constructor',
  '\u0000',
  '\ud800',
  '𝒳',
  'é',
  '\n',
  '/',
]

/** One of the numbers at which readers go wrong. */
export const oddNumber = (random) => random.pick(NUMBERS)

/** Some bytes changed, put in, taken out, doubled or cut off. */
export function changedBytes(random, bytes) {
  let changed = Buffer.from(bytes)
  for (let changes = 1 + random.below(4); changes > 0; changes--) {
    changed = changedOnce(random, changed)
  }
  return changed
}

function changedOnce(random, bytes) {
  const at = random.below(bytes.length + 1)
  const length = Math.min(1 + random.below(random.next() < 0.8 ? 8 : 400), bytes.length - at)
  const [before, inside, after] = [
    bytes.subarray(0, at),
    bytes.subarray(at, at + length),
    bytes.subarray(at + length),
  ]
  switch (random.below(7)) {
    case 0:
      return Buffer.concat([before, after])
    case 1:
      return Buffer.concat([before, inside, inside, after])
    case 2:
      return before
    case 3:
      return Buffer.concat([before, noise(random, 1 + random.below(8)), inside, after])
    case 4: {
      // A number of 4 or 8 bytes.
      const number = Buffer.alloc(8)
      number.writeBigUInt64LE(BigInt.asUintN(64, BigInt(Math.trunc(oddNumber(random) % 2 ** 63))))
      const part = number.subarray(0, random.pick([1, 2, 4, 8]))
      return Buffer.concat([before, part, bytes.subarray(Math.min(at + part.length, bytes.length))])
    }
    case 5: {
      const from = random.below(bytes.length + 1)
      return Buffer.concat([before, bytes.subarray(from, from + 1 + random.below(64)), after])
    }
    default: {
      const flipped = Buffer.from(bytes)
      if (at < flipped.length) {
        flipped[at] ^= 1 << random.below(8)
      }
      return flipped
    }
  }
}

const noise = (random, length) => Buffer.from(Array.from({ length }, () => random.below(256)))

/** A text with some of its pieces exchanged for others, doubled or left out. `words` are pieces that mean something. */
export function changedText(random, text, words) {
  const pieces = text.match(/\w+|\s+|[^\w\s]/gu) ?? []
  for (let changes = 1 + random.below(4); changes > 0; changes--) {
    const at = random.below(pieces.length + 1)
    switch (random.below(5)) {
      case 0:
        pieces.splice(at, 1 + random.below(3))
        break
      case 1:
        pieces.splice(at, 0, random.pick(words))
        break
      case 2:
        pieces.splice(at, 1, random.pick(words))
        break
      case 3:
        pieces.splice(at, 1, String(oddNumber(random)))
        break
      default: {
        const from = random.below(pieces.length + 1)
        pieces.splice(at, 0, ...pieces.slice(from, from + 1 + random.below(12)))
      }
    }
  }
  return pieces.join('')
}

/** A copy of a JSON document with some values exchanged, left out, doubled or put under other names. */
export function changedJson(random, document) {
  const changed = { document: structuredClone(document) }
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    changeInside(random, changed)
  }
  return changed.document
}

function changeInside(random, parent) {
  const keys = Object.keys(parent)
  const key = random.pick(keys)
  const value = parent[key]
  const isTable = typeof value === 'object' && value !== null && Object.keys(value).length > 0
  if (isTable && random.next() < 0.85) {
    changeInside(random, value)
    return
  }
  switch (random.below(6)) {
    case 0:
      delete parent[key]
      break
    case 1:
      parent[random.pick([...keys, ...STRINGS])] = structuredClone(value)
      break
    case 2:
      parent[key] = structuredClone(parent[random.pick(keys)])
      break
    default:
      if (key === '__proto__') {
        return
      }
      parent[key] = oddValue(random, value)
  }
}

/** A JSON value that has no business where `old` is. */
export function oddValue(random, old) {
  switch (random.below(8)) {
    case 0:
      return null
    case 1:
      return random.pick([true, false])
    case 2:
      return random.pick(STRINGS)
    case 3:
      return random.pick([[], {}, [null], [[]], { a: null }])
    case 4:
      return typeof old === 'string' ? old.repeat(1 + random.below(50)) : [old]
    case 5:
      return typeof old === 'number' ? old + random.pick([-1, 1, 1000]) : JSON.stringify(old)
    default:
      return oddNumber(random)
  }
}
