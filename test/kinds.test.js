/**
 * Rows, factors and masks out of the ordinary, as torch.onnx writes them: what is captured, its score gaps, attribution
 * and edits against the scores that PyTorch computes. Skipped by name where Python has no PyTorch.
 */

import { execFile, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { accumulate, attribute, capture, decompose, intervene, openModel } from '../dist/index.js'
import { explanationGap } from './helpers/explanations.js'
import { temporaryFolder } from './helpers/files.js'
import { relativeDifference } from './helpers/linear-algebra.js'

const python = '/usr/bin/python3'
const program = fileURLToPath(new URL('zoo/export_kinds.py', import.meta.url))
const withTorch = spawnSync(python, ['-c', 'import torch']).status === 0
const kinds = (title, check) =>
  withTorch ? test(title, check) : test.skip(`${title} (needs python3-torch)`, check)

const folder = temporaryFolder(test)
let exported
const open = async (name) => {
  exported ??= promisify(execFile)(python, [program, folder])
  await exported
  return openModel(path.join(folder, `${name}.onnx`))
}

const TOKENS = [3, 7, 9, 11, 2, 5, 8]
const PROMPT = { contrast: 'c', tokens: TOKENS, terms: [{ query: -1, positive: [1], negative: [4] }] }
/** Scores of masks; what is below is not compared. */
const MASKED = -9e3

const rows = (before, after) => ({ before, after })
const none = rows(0, 0)
const HALF_ROOT = 1 / Math.sqrt(8)

/** What both sites of a model are. */
const MODELS = {
  'soft-prompt': { otherRows: { query: rows(2, 0), key: rows(2, 0) } },
  'rows-behind': { causal: false, otherRows: { query: rows(0, 2), key: rows(0, 2) } },
  'keys-before': { otherRows: { query: none, key: rows(4, 0) } },
  'keys-behind': { causal: false, otherRows: { query: none, key: rows(0, 1) } },
  temperature: { scale: 'per head' },
  'length-factor': { scale: 'computed' },
  'query-factor': { scale: 'per query' },
  'mask-by-factor': {},
  'large-scores': { scale: 200, masked: -1e30 },
  exponentials: {},
  'positions-first': {},
}

for (const [name, { scale = HALF_ROOT, causal = true, masked = MASKED, otherRows }] of Object.entries(
  MODELS,
)) {
  kinds(`${name}: scores, gaps, attribution and edits are the model's`, async (t) => {
    const model = await open(name)
    t.deepEqual(model.unsupported, [])
    t.is(model.sites.length, 2)
    const expected = JSON.parse(readFileSync(path.join(folder, `${name}.json`), 'utf8'))
    const { activations } = await capture(model, { tokens: TOKENS }, { scores: true })
    const result = await decompose(await accumulate(model, [PROMPT]), { rank: { rule: 'fixed', rank: 2 } })
    const { examples } = await attribute(model, [PROMPT], { result, keys: 'all', centered: false })
    for (const [layer, site] of model.sites.entries()) {
      t.like(site, { layer, kind: undefined, causal, cross: false, uncovered: undefined })
      t.deepEqual(site.otherRows, otherRows)
      if (typeof scale === 'number') {
        t.true(Math.abs(Number(site.scale) / scale - 1) < 1e-5)
      } else {
        t.is(site.scale, scale)
      }
      const own = [...activations[site.hooks.q.replace(/hook_.*/, 'hook_attn_scores')].data]
      const right = expected[layer].flat(2)
      const seen = right.map((x) => x > masked)
      t.is(own.length, right.length)
      const kept = (values) => values.filter((_, i) => seen[i])
      t.true(relativeDifference(kept(own), kept(right)) < 1e-5)
      const { before: q } = otherRows?.query ?? none
      const { before: k } = otherRows?.key ?? none
      const difference = expected[layer].map((head) => head[q + 6][k + 1] - head[q + 6][k + 4])
      const gaps = difference.map((_, h) => result.head(`L${layer}H${h}`).contrast('c').scoreGap)
      t.true(relativeDifference(gaps, difference) < 1e-5)
      const attributed = difference.map((_, h) => {
        const { total } = examples[0].rows.find(({ head }) => head === `L${layer}H${h}`)
        return total[1] - total[4]
      })
      t.true(relativeDifference(attributed, difference) < 1e-5)
    }
    const { variants } = await intervene(model, [PROMPT], { result, heads: 'L0H0', randoms: 0 })
    const { origin, target } = variants.at(-1).heads.L0H0
    // Whole keys exchanged exchange the attention on them.
    t.true(Math.abs(origin.after.mean - target.before.mean) < 1e-5)
    t.true(Math.abs(target.after.mean - origin.before.mean) < 1e-5)
    const { swaps, ...gaps } = await explanationGap(model, PROMPT, result)
    t.true(swaps > 0)
    for (const [what, gap] of Object.entries(gaps)) {
      t.true(gap < 1e-4, `explain, ${what}: ${gap}`)
    }
  })
}

for (const [name, reason] of [
  ['few-keys', /its keys are not those of the tokens: there are 5 for 7 tokens, 5 for 9/],
  ['pooled-queries', /its queries are not those of the tokens: there are 4 for 7 tokens, 5 for 9/],
]) {
  kinds(`${name}: rows that are not those of the tokens are refused by name`, async (t) => {
    const error = await t.throwsAsync(open(name), { code: 'ERR_NO_ATTENTION' })
    t.regex(error.message, reason)
    t.regex(error.message, /L0, .*\n.*L1, /)
  })
}
