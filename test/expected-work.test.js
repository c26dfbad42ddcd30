/** What 'auto' is told of a prompt set before it runs. */

import test from 'ava'
import { gpuPays } from '../dist/backend/cost/cost.js'
import { bundledFile, bundledWords } from '../dist/bundled/files.js'
import { boxesOrder } from '../dist/contrast/families/boxes.js'
import { promptSet } from '../dist/contrast/prompt-set.js'
import { expectedWork } from '../dist/covariance/expected-work.js'
import { accumulate, openModel } from '../dist/index.js'
import { parseHeads } from '../dist/model/sites/heads.js'

const openBoxes = () =>
  openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
const prompts = () => boxesOrder({ ...bundledWords(), pairs: 3, prompts: 40, seed: 1 })
const settings = /** @type {const} */ ({ estimator: 'per-query', batchSize: 16, test: true })

test('every site counts its heads, its terms and batches, and the draws of its test', async (t) => {
  const { sites } = await openBoxes()
  const summary = await promptSet(prompts()).summary()
  const { terms } = summary.definitions.order
  t.true(terms >= 40)
  const work = expectedWork(sites, parseHeads('all', sites), summary, settings)
  const sums = work.filter(({ kind }) => kind === 'terms')
  t.is(sums.length, sites.length)
  t.like(sums[0], { heads: sites[0].heads, headDim: sites[0].headDim, terms, batches: 3, contrasts: 1 })
  const draws = work.filter(({ kind }) => kind === 'flips')
  t.is(draws.length, sites.length)
  t.like(draws[0], { heads: sites[0].heads, kvHeads: sites[0].kvHeads, rows: terms })
  t.is(
    expectedWork(sites, parseHeads('all', sites), summary, { ...settings, test: false }).length,
    sites.length,
  )
  const some = expectedWork(sites, parseHeads('L1H0,L1H2', sites), summary, settings)
  t.deepEqual(
    some.map(({ kind }) => kind),
    ['terms', 'flips'],
  )
  t.like(some[0], { heads: 2, kvHeads: 2 })
})

test('label sequences count their queries, and their draws are sums', async (t) => {
  const { sites } = await openBoxes()
  const summary = await promptSet(prompts()).summary()
  const { order } = summary.definitions
  const labelled = {
    ...order,
    rule: /** @type {const} */ ('labels'),
    terms: 0,
    labelled: { queries: 500, keys: 900 },
  }
  const work = expectedWork(
    sites.slice(0, 1),
    parseHeads('L0H0', sites),
    { ...summary, definitions: { order: labelled } },
    settings,
  )
  t.deepEqual(
    work.map(({ kind }) => kind),
    ['terms', 'terms', 'svd'],
  )
  t.like(work[0], { terms: 500 })
})

test('a small set is summed by the processor; a thousand times as large a one of a large model would not be', async (t) => {
  const model = await openBoxes()
  const summary = await promptSet(prompts()).summary()
  const hardware = { cores: 2 }
  t.false(gpuPays(expectedWork(model.sites, parseHeads('all', model.sites), summary, settings), hardware))
  const { order } = summary.definitions
  const large = {
    ...summary,
    prompts: 40_000,
    definitions: { order: { ...order, prompts: 40_000, terms: 1000 * order.terms } },
  }
  const sites = model.sites.map((site) => ({ ...site, heads: 32, kvHeads: 8, headDim: 128 }))
  t.true(gpuPays(expectedWork(sites, parseHeads('all', sites), large, settings), hardware))
  const sums = await accumulate(model, prompts(), { backend: 'auto' })
  t.is(sums.backend.name, 'cpu')
  t.is(sums.backend.choice, 'cpu')
})
