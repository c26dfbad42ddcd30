/** Every block of code in README and docs/ runs as it is written, or is named here with the reason why not. */

import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { sharedModel, temporaryFolder, withSharedModels } from './helpers/files.js'
import { blocksOf, pages, prepareFolder, runBlock } from './helpers/snippets.js'

/** By a piece of the block's code. */
const ELSEWHERE = [
  ['npm install --ignore-scripts', 'test/package/install.test.js installs the archives'],
  ['npx qkspace build', 'test/package/build.test.js'],
  ['npm start ', 'the two commands of the checkout, of which this is a part'],
  ['bullmq ioredis', 'installs optional packages, and starts a server'],
  ['qkspace worker', 'test/cluster runs it, with a Redis'],
  ['uploadTensor', 'needs a GPU'],
  ['npm run test:gpu', 'needs a GPU'],
  ['packed/run.sh', 'needs a GPU'],
  ['readPaper', 'needs a run of all of the paper’s figures, which test/paper.test.js has'],
]
const PAGES_ELSEWHERE = {
  'docs/interchange.md': 'test/interchange/docs.test.js',
  'docs/model-sources.md': 'test/hub/command.test.js',
  'docs/transformer-lens.md': 'test/snippets.test.js',
  'docs/story.md': 'needs a model that knows stories, which is not part of the package',
}

const SUMS = `
import { accumulate, decompose, openModel, readPrompts, testRank } from 'qkspace'
const model = await openModel('model.onnx')
const sums = await accumulate(model, readPrompts('boxes.jsonl'))`
const WIDE_ROWS = `
const [batch, pos] = [2, 32]
const numbers = (length) => Float32Array.from({ length }, (_, i) => Math.sin(i * i))
const [q, k] = [numbers(batch * pos * 32 * 128), numbers(batch * pos * 8 * 128)]`
const ROWS_OF_ONE_HEAD = `
const numbers = (rows) => Float32Array.from({ length: rows * 8 }, (_, i) => Math.sin(i * i + rows))
const q = { data: numbers(60), dtype: 'f32', shape: [60, 1, 1, 8] }
const k = { data: numbers(120), dtype: 'f32', shape: [60, 2, 1, 8] }
const query = Array.from({ length: 60 }, (_, i) => i)
const [contrast, pos, neg] = ['c', query.map((i) => 2 * i), query.map((i) => 2 * i + 1)]
const posOffsets = Array.from({ length: 61 }, (_, i) => i)
const negOffsets = posOffsets
const terms = { contrast, query, pos, posOffsets, neg, negOffsets }
const [units, promptOfTerm] = [query, query]`

/** What the blocks of a page take for granted, block by block. */
const GIVEN = {
  'docs/arrays.md': [WIDE_ROWS, '', ROWS_OF_ONE_HEAD],
  'docs/rank.md': [SUMS + ROWS_OF_ONE_HEAD],
}

const folder = temporaryFolder(test)
test.before(async (t) => {
  t.timeout(300_000)
  prepareFolder(folder)
  mkdirSync(path.join(folder, 'results'))
  const made = await runBlock(folder, {
    language: 'sh',
    code: `
node --input-type=module -e "
import { boxesLexical, boxesOrder, bundledWords, writePrompts } from 'qkspace'
const words = { ...bundledWords(), prompts: 400 }
await writePrompts('all.jsonl', [
  ...boxesOrder({ ...words, seed: 1 }),
  ...boxesLexical({ ...words, seed: 2 }, 'question', 'match'),
  ...boxesLexical({ ...words, seed: 3 }, 'text and question', 'lexical'),
])"
qkspace prompts boxes --variant order --prompts 80 --out boxes.jsonl
qkspace prompts boxes --variant order --prompts 24 --seed 11 --out held-out.jsonl
cp boxes.jsonl prompts.jsonl
qkspace decompose --model model.onnx --prompts boxes.jsonl --out boxes.safetensors
qkspace decompose --model model.onnx --prompts all.jsonl --out results/boxes.safetensors
cp boxes.safetensors a.safetensors
cp boxes.safetensors b.safetensors`,
  })
  if (made.status !== 0) {
    throw new Error(made.stderr)
  }
})

const reasonOf = (page, { code }) =>
  PAGES_ELSEWHERE[page] ?? ELSEWHERE.find(([piece]) => code.includes(piece))?.[1]

for (const page of pages()) {
  const blocks = blocksOf(page)
  const run = blocks.filter((block) => reasonOf(page, block) === undefined)
  if (run.length === 0) {
    const reason = reasonOf(page, blocks[0])
    const isTest = reason.startsWith('test/')
    const elsewhere = isTest ? test : test.skip
    elsewhere(`${page}: ${reason}`, (t) => {
      t.true(readFileSync(new URL(`../${reason}`, import.meta.url), 'utf8').includes(page))
    })
    continue
  }
  test.serial(`${page}: ${run.length} of ${blocks.length} blocks`, async (t) => {
    t.timeout(300_000)
    for (const [index, block] of run.entries()) {
      if (block.language === 'python' && !hasModules(block.code)) {
        t.log(`not run, as a Python module is absent:\n${block.code}`)
        continue
      }
      const { status, stderr } = await runBlock(folder, block, GIVEN[page]?.[index])
      t.is(status, 0, `${block.code}\n${stderr}`)
    }
  })
}

function hasModules(code) {
  const modules = [...code.matchAll(/^(?:import|from) (\w+)/gm)].map(([, name]) => name)
  return spawnSync('/usr/bin/python3', ['-c', `import ${modules.join(', ')}`]).status === 0
}

withSharedModels(test.serial)(
  'docs/transformer-lens.md: the walk-through, on a model of stories',
  async (t) => {
    t.timeout(300_000)
    const model = path.join(folder, 'my-model')
    mkdirSync(model)
    copyFileSync(sharedModel('tinystories-260k/eager.onnx'), path.join(model, 'model.onnx'))
    copyFileSync(sharedModel('tinystories-260k/tokenizer.json'), path.join(model, 'tokenizer.json'))
    const [script, ...commands] = blocksOf('docs/transformer-lens.md')
    writeFileSync(path.join(folder, 'make-prompts.mjs'), script.code)
    const printed = []
    for (const block of commands) {
      const { status, stdout, stderr } = await runBlock(folder, block)
      t.is(status, 0, stderr)
      printed.push(stdout)
    }
    // The row of the page, column by column.
    t.regex(
      printed[0],
      /^L0H7 +same name +5\.6% +0\.2% +3 +0\.00010 +0\.0010 +0\.00012 .* 89\.0% \(87\.3%\)$/m,
    )
    t.regex(printed[1], /^same name +264 +3 .* 0\.82\d .* within null: moved/m)
  },
)

test.serial('a block that is wrong is found', async (t) => {
  const wrong = {
    language: 'js',
    code: "import { openModel } from 'qkspace'\nawait openModel('absent.onnx')\n",
  }
  t.not((await runBlock(folder, wrong)).status, 0)
  t.not((await runBlock(folder, { language: 'sh', code: 'qkspace inspect absent.onnx\ntrue\n' })).status, 0)
})
