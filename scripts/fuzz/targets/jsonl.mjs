import { bundledWords } from '../../../dist/bundled/files.js'
import { checkPromptSet } from '../../../dist/contrast/check/check-set.js'
import { boxesLexical, boxesOrder } from '../../../dist/contrast/families/boxes.js'
import { readPrompts } from '../../../dist/contrast/prompt-set.js'
import { changedBytes, changedJson } from '../mutate.mjs'

/** Prompt sets of every kind of rule, with fields or bytes of a line changed; read, and checked without a tokenizer. */
export const target = {
  extension: 'jsonl',
  prepare: async () => [
    ...boxesOrder({ ...bundledWords(), prompts: 6, seed: 1 }),
    ...boxesLexical({ ...bundledWords(), prompts: 4, seed: 1 }),
    {
      contrast: 'c',
      tokens: [1, 2, 3, 4],
      terms: [{ query: 3, positive: [1], negative: [0, 2] }],
      group: 'g',
    },
    {
      contrast: 'c',
      text: 'a b a b',
      labels: { query: [0, 1, null, 1], key: [0, 1, 0, 1], scope: 'others' },
    },
    {
      id: 'two',
      text: 'one two three',
      pair: 'four five',
      contrasts: {
        c: { terms: [{ query: { match: 'three' }, positive: { span: [0, 3] }, negative: { match: 'two' } }] },
      },
    },
  ],
  make: (random, seeds) => {
    const lines = Array.from({ length: 1 + random.below(4) }, () => random.pick(seeds))
    const spoiled = random.below(lines.length)
    const texts = lines.map((line, i) => JSON.stringify(i === spoiled ? changedJson(random, line) : line))
    const bytes = Buffer.from(texts.join('\n'))
    return random.next() < 0.2 ? changedBytes(random, bytes) : bytes
  },
  run: async (file) => {
    const set = readPrompts(file)
    await set.summary()
    await checkPromptSet(set)
  },
}
