/** How large the cases are; `--size name=value` of bench:gpu changes one. */

export const SIZES = {
  repeats: 7,
  heads: 32,
  kvHeads: 8,
  headDim: 128,
  /** One-to-one pairs on the device, and the head dimensions that they are timed at. */
  rows: 2 ** 20,
  pairDims: [128, 64, 256],
  dtypes: ['f32', 'f16', 'bf16'],
  /** Category terms: one query against so many items. */
  prompts: 2 ** 14,
  items: 25,
  /** Pairs that come from host memory. */
  hostRows: 2 ** 17,
  /** Matrices of side x side to decompose. */
  matrices: 4096,
  side: 128,
  /** Permutations of one-to-one terms. */
  nullHeads: 256,
  nullTerms: 3000,
  draws: 1000,
  /** Ceilings: side of the products, size of the copies. */
  matmul: 8192,
  copyMiB: 4096,
  /** What is written between two runs, so that no cache holds what they read. */
  flushMiB: 256,
}

/** SIZES with those that the arguments name changed. Throws a message for the user. */
export function sizesFrom(changes) {
  const sizes = { ...SIZES }
  for (const change of changes) {
    const [name, text] = change.split('=')
    if (!(name in SIZES)) {
      throw new Error(`there is no size '${name}'; sizes: ${Object.keys(SIZES).join(', ')}`)
    }
    sizes[name] = read(name, text ?? '')
  }
  return sizes
}

function read(name, text) {
  if (name === 'dtypes') {
    return text.split(',')
  }
  const isList = Array.isArray(SIZES[name])
  const numbers = (isList ? text.split(',') : [text]).map(Number)
  if (!numbers.every((number) => Number.isInteger(number) && number > 0)) {
    throw new Error(`${name} is '${text}', expected ${isList ? 'whole numbers' : 'a whole number'} above 0`)
  }
  return isList ? numbers : numbers[0]
}

/** Pairs at a head dimension: fewer above 128, where they would not fit beside what a peer makes of them. */
export const pairRows = (rows, headDim) => Math.max(1, Math.floor(rows * Math.min(1, 128 / headDim)))
