/**
 * Many architectures as torch.onnx writes them: every site is found, captured, verified and, where the model takes
 * tokens, edited. Skipped by name where Python has no PyTorch.
 */

import { execFile, spawnSync } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { capture, openModel } from '../dist/index.js'
import { seededRandom } from '../dist/math/random.js'
import { bareRows, streamsOf } from './helpers/bare-rows.js'
import { editor, identity, plainLogits, tokenItem, zeros } from './helpers/edits.js'
import { explanationGap, fixedResult, randomPrompts } from './helpers/explanations.js'
import { temporaryFolder } from './helpers/files.js'
import { relativeDifference, visibleScores } from './helpers/linear-algebra.js'

const python = '/usr/bin/python3'
const program = fileURLToPath(new URL('zoo/export_zoo.py', import.meta.url))
const withTorch = spawnSync(python, ['-c', 'import torch']).status === 0
const zoo = (title, check) =>
  withTorch ? test(title, check) : test.skip(`${title} (needs python3-torch)`, check)

const folder = temporaryFolder(test)
let exported
/** The folder with the models, written once. */
function models() {
  exported ??= promisify(execFile)(python, [program, folder])
  return exported
}
const open = async (name) => {
  await models()
  return openModel(path.join(folder, `${name}.onnx`))
}

const plain = { heads: 4, kvHeads: 4, headDim: 8, causal: false, rotary: false, cross: false }
const HALF_ROOT = 1 / Math.sqrt(8)

/** @import { ReadSide, SiteStream } from '../dist/model/graphs/reads-graph.js' */

/** What every site of a model of tokens is. */
const WORDS = {
  bert: {},
  distilbert: {},
  bart: { scale: 1 },
  gpt2: { causal: true },
  neox: { causal: true, rotary: true },
  bloom: { causal: true },
  gemma2: { causal: true, rotary: true, kvHeads: 2, scale: 0.4 },
  falcon: { causal: true, rotary: true, kvHeads: 1 },
  grouped: { causal: true, kvHeads: 2 },
  t5: { scale: 1 },
  deberta: { scale: 1 / Math.sqrt(24), uncovered: true },
  'torch-encoder': {},
  sinks: { causal: true },
  'llama-with-cache': { causal: true, rotary: true, kvHeads: 2 },
}

/** [kvHeads, 8] -> [4, 8] */
const keyOfEachHead = (rows, { kvHeads }) =>
  Array.from({ length: 32 }, (_, at) => rows[Math.floor((Math.floor(at / 8) * kvHeads) / 4) * 8 + (at % 8)])

const close = (a, b) => Math.abs(a - b) < 1e-6

for (const [name, { scale = HALF_ROOT, uncovered = false, ...expected }] of Object.entries(WORDS)) {
  zoo(`${name}: both layers are captured and edited`, async (t) => {
    const model = await open(name)
    t.deepEqual(model.unsupported, [])
    t.is(model.sites.length, 2)
    for (const site of model.sites) {
      t.like(site, { ...plain, ...expected })
      t.true(close(site.scale, scale), `${site.scale}`)
      t.is(site.uncovered !== undefined, uncovered)
      t.true(site.relativeError < 1e-5)
    }

    const streams = streamsOf(model)
    const [first, second] = /** @type {Record<ReadSide, SiteStream>[]} */ (
      model.sites.map((site) => streams.get(site))
    )
    t.like(second.query, { embedding: first.query.tensor, norm: 'LayerNorm', atEmbedding: false })
    t.is(second.key.tensor, second.query.tensor)
    t.not(second.key.tensor, first.key.tensor)
    const bare = await bareRows(model, [7])
    const alone = await capture(model, { tokens: [7] })
    for (const side of ['q', 'k']) {
      const [own, later] = model.sites.map(({ hooks }) => alone.activations[hooks[side]].data)
      const repeated = (rows) => (rows.length === 32 ? [...rows] : keyOfEachHead(rows, model.sites[0]))
      t.true(relativeDifference(bare[0][side], repeated(own)) < 1e-5)
      // The layer between adds to what a token alone is.
      t.true(relativeDifference(bare[1][side], repeated(later)) > 1e-3)
    }

    const heads = [0, 3]
    const item = tokenItem(9, { origin: 5, target: 7, seed: 4, vocabulary: 50 })
    const { activations } = await capture(model, { tokens: item.run.ids }, { pattern: true })
    const { run, close: done } = await editor(model, [
      [0, heads],
      [1, heads],
    ])
    const none = heads.map(() => zeros(8))
    const whole = heads.map(() => identity(8))
    const before = await run([item], {}, [none, none])
    const after = await run([item], {}, [whole, none])
    await done()
    // An edit of nothing leaves the model as it is.
    t.true(relativeDifference(before.logits, await plainLogits(model, [item])) < 1e-6)
    const n = item.run.ids.length
    const prefix = model.sites[0].hooks.q.replace(/\.[^.]*$/, '')
    const pattern = activations[`${prefix}.hook_pattern`].data
    heads.forEach((head, h) => {
      const width = before.patterns[0][0][h].length
      const row = pattern.subarray((head * n + item.query) * width, (head * n + item.query + 1) * width)
      t.true(relativeDifference(before.patterns[0][0][h], row) < 1e-5)
    })
    // Log odds of the two keys move by twice the difference of their scores, whatever else is added to them.
    if (name === 'gemma2') {
      return
    }
    const q = activations[model.sites[0].hooks.q].data
    const k = activations[model.sites[0].hooks.k].data
    const { kvHeads } = model.sites[0]
    heads.forEach((head, h) => {
      const score = (j) => {
        const [at, key] = [(item.query * 4 + head) * 8, (j * kvHeads + Math.floor((head * kvHeads) / 4)) * 8]
        let sum = 0
        for (let c = 0; c < 8; c++) {
          sum += q[at + c] * k[key + c]
        }
        return scale * sum
      }
      const odds = ({ patterns }) => Math.log(patterns[0][0][h][item.origin] / patterns[0][0][h][item.target])
      const moved = 2 * (score(item.target) - score(item.origin))
      t.true(Math.abs(odds(after) - odds(before) - moved) < 1e-4 * Math.max(1, Math.abs(moved)))
    })
    t.true(relativeDifference(after.logits, before.logits) > 1e-6, 'the output feels it')
  })

  zoo(`${name}: explained as attribute and intervene say`, async (t) => {
    const model = await open(name)
    const result = await fixedResult(model, { vocabulary: 50, nulls: 0 })
    // Keys that a short window lets the query see.
    const terms = [{ query: -1, positive: [6], negative: [7] }]
    const prompt = { ...randomPrompts(1, { seed: 8, vocabulary: 50 })[0], terms }
    const { swaps, ...gaps } = await explanationGap(model, prompt, result)
    t.true(swaps >= 4)
    for (const [what, gap] of Object.entries(gaps)) {
      t.true(gap < 1e-4, `${what}: ${gap}`)
    }
  })
}

zoo('llama-with-cache: through its cache it writes what it writes when the text is run again', async (t) => {
  const model = await open('llama-with-cache')
  const options = { scores: true, pattern: true }
  const written = await capture(model, { tokens: [3, 14, 15, 9, 26] }, { newTokens: 6, ...options })
  const again = await capture(model, { tokens: written.tokens }, options)
  for (const [name, { shape, data }] of Object.entries(again.activations)) {
    t.deepEqual(written.activations[name].shape, shape)
    t.true(
      relativeDifference(visibleScores(written.activations[name].data), visibleScores(data)) < 1e-5,
      name,
    )
  }
})

function normal(shape, seed) {
  const { normal: draw } = seededRandom(seed)
  return { shape, data: Array.from({ length: shape.reduce((a, b) => a * b, 1) }, draw) }
}

/** Sites of models that take tensors, their inputs, and how many positions queries and keys have. */
const TENSORS = {
  vit: { inputs: { pixel_values: normal([2, 3, 16, 16], 1) }, sites: [[{}, 17, 17]] },
  conformer: { inputs: { features: normal([2, 11, 8], 2) }, sites: [[{ uncovered: ['/Add_3'] }, 11, 11]] },
  detr: {
    inputs: { pixel_values: normal([2, 3, 16, 16], 3) },
    sites: [
      [{ kind: 'enc' }, 16, 16],
      [{ kind: 'cross', cross: true }, 5, 16],
    ],
  },
  wav2vec: { inputs: { input_values: normal([2, 500], 5) }, sites: [[{}, 12, 12]] },
  clip: {
    inputs: {
      input_ids: { shape: [2, 5], data: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] },
      pixel_values: normal([2, 3, 32, 24], 6),
    },
    sites: [
      [{ kind: 'dec', causal: true }, 5, 5],
      [{ kind: 'enc' }, 12, 12],
    ],
  },
  whisper: {
    inputs: {
      decoder_input_ids: { shape: [2, 4], data: [1, 2, 3, 4, 5, 6, 7, 8] },
      encoder_hidden_states: normal([2, 9, 32], 4),
    },
    sites: [
      [{ kind: 'dec', causal: true, scale: 1 }, 4, 4],
      [{ kind: 'cross', cross: true, scale: 1 }, 4, 9],
    ],
  },
}

for (const [name, { inputs, sites }] of Object.entries(TENSORS)) {
  zoo(`${name}: captured from tensors`, async (t) => {
    const model = await open(name)
    t.deepEqual(model.unsupported, [])
    const { sites: found, activations } = await capture(model, { inputs }, { pattern: true })
    t.is(found.length, sites.length)
    sites.forEach(([{ scale = HALF_ROOT, ...expected }, queries, keys], i) => {
      const { site, hooks, relativeError } = found[i]
      t.like(site, { ...plain, ...expected })
      t.true(close(site.scale, scale))
      t.true(relativeError < 1e-5)
      t.deepEqual(activations[hooks.q].shape, [2, queries, 4, 8])
      t.deepEqual(activations[hooks.k].shape, [2, keys, 4, 8])
      t.deepEqual(activations[hooks.pattern].shape, [2, 4, queries, keys])
    })
  })
}

zoo('bigcode: heads that share an axis with positions are refused, with the reason', async (t) => {
  await models()
  await t.throwsAsync(open('bigcode'), {
    code: 'ERR_NO_ATTENTION',
    message: /heads share an axis with positions/,
  })
})

zoo('swin: attention in windows is refused, with the reason', async (t) => {
  await models()
  await t.throwsAsync(open('swin'), {
    code: 'ERR_NO_ATTENTION',
    message: /runs over parts of a sequence: 12 of them for a batch of 3/,
  })
})

zoo('whisper: cross attention has a stream on the query side alone, and says why', async (t) => {
  const model = await open('whisper')
  const streams = streamsOf(model)
  const [own, cross] = ['dec', 'cross'].map((kind) =>
    streams.get(model.sites.find((site) => site.kind === kind)),
  )
  const { tensor } = /** @type {SiteStream} */ (own.query)
  t.like(cross.query, { embedding: tensor, atEmbedding: false })
  t.deepEqual(cross.key, { reason: 'are not computed from the embeddings of tokens' })
})
