/**
 * Writes a prompt set about names in stories: a name that is mentioned again, looking back at its own first
 * mention rather than at another character's.
 *
 *   node examples/story-names.mjs 300 1 > train.jsonl
 *   node examples/story-names.mjs 100 2 > held-out.jsonl
 */

const [count = '200', seed = '1'] = process.argv.slice(2)
const NAMES = ['Lily', 'Tom', 'Ben', 'Sue', 'Max', 'Mia', 'Tim', 'Anna', 'Sam', 'Lucy']
const OPENINGS = [
  ['Once upon a time, there was a girl named ', ' and a boy named ', '. They were best friends.'],
  ['One day, ', ' and ', ' went to the park to play.'],
  ['', ' had a big red ball. ', ' had a small toy car.'],
  ['', ' saw a cat in the garden. ', ' saw a bird in the tree.'],
]
const MIDDLES = [
  ' It was a sunny day.',
  ' They liked to run and jump.',
  ' The sun was hot.',
  ' They were very happy.',
]

let state = Number(seed) >>> 0
/** Uniform in {0, ..., n - 1}; mulberry32. */
function below(n) {
  state = (state + 0x6d2b79f5) >>> 0
  let t = Math.imul(state ^ (state >>> 15), state | 1)
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
  return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n)
}
const pick = (list) => list[below(list.length)]

for (let i = 0; i < Number(count); i++) {
  const first = pick(NAMES)
  const second = pick(NAMES.filter((name) => name !== first))
  const [before, between, after] = pick(OPENINGS)
  const story = `${before}${first}${between}${second}${after}${pick(MIDDLES)}`
  const again = below(2) === 0 ? first : second
  const other = again === first ? second : first
  const text = `${story} Then ${again}`
  const at = (name) => {
    const start = name === first ? before.length : before.length + first.length + between.length
    return { char: [start, start + name.length], token: 'last' }
  }
  const line = {
    id: `story-${i}`,
    contrast: 'same name',
    text,
    terms: [{ query: -1, positive: [at(again)], negative: [at(other)] }],
  }
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
