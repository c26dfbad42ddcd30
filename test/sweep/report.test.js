/** What the page says of a sweep: attention and evidence where there is any, and nothing of shuffled answers. */

import path from 'node:path'
import test from 'ava'
import { boxesOrder, bundledFile, bundledWords, openModel, sweep, writeReport } from '../../dist/index.js'
import { browserFor, showAll, withBrowser } from '../helpers/browser.js'
import { temporaryFolder } from '../helpers/files.js'
import { shuffledAnswers } from '../helpers/shuffled-answers.js'

const folder = temporaryFolder(test)
const open = browserFor(test)
const browserTest = withBrowser(test)

/**
 * The report of a sweep, and how many heads it discovers; without options nothing is held out.
 * @param {string} name
 * @param {import('../../dist/index.js').Prompt[]} prompts
 * @param {import('../../dist/index.js').SweepOptions} [options]
 */
async function pageOf(name, prompts, options = { heldOut: 0 }) {
  const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
  const { result } = await sweep(model, prompts, options)
  const found = result.headNames.filter((head) => result.head(head).contrast('order').test.discovered)
  const file = path.join(folder, `${name}.html`)
  await writeReport(file, { results: [{ name, value: result }] })
  return { file, discovered: found.length }
}

const prompts = boxesOrder({ ...bundledWords(), prompts: 300, seed: 1 })

browserTest(
  'the page opens on the head that attends, with what a sweep moved on held-out prompts',
  async (t) => {
    const { file, discovered } = await pageOf('real', prompts)
    t.true(discovered > 1)
    const { page, seen } = await open(file)
    await showAll(page)
    t.regex(
      await page.locator('.headline').textContent(),
      /^L3H0 puts 9\d% of its attention on the answer’s box/,
    )
    t.is(await page.locator('.badge').textContent(), 'Significant, replicated')
    t.regex(
      await page.locator('#figure-map-order figcaption').textContent(),
      /first among them L3H0, with 9\d%/,
    )
    t.true((await page.locator('#overview').innerText()).includes(`${discovered} of 16`))
    const cell = page.locator('rect[data-head="L3H0"]').first()
    t.is(await cell.getAttribute('aria-pressed'), 'true')
    t.regex(
      await cell.getAttribute('aria-label'),
      /attention 9\d\.\d% on the positive keys, replicated, p 0\.0001/,
    )
    await page.locator('#heads select').selectOption('evidence')
    t.regex(await page.locator('#figure-map-order figcaption').innerText(), /−log₁₀ p.*The threshold is/s)
    t.is(await page.locator('#figure-map-order .ramp .limit').count(), 1)
    t.deepEqual(seen.errors, [])
  },
)

browserTest('what a sweep held out is in the finding, beside its null', async (t) => {
  const { file } = await pageOf('held-out', prompts, {})
  const { page, seen } = await open(file)
  const text = await page.locator('.finding-words').textContent()
  t.regex(
    text,
    /Exchanging 9 of its 32 dimensions moves 9\d% of that attention to another box on the half of the prompts that did not fit them/,
  )
  t.regex(text, /subspaces of random labels move \d+% \(95th percentile \d+%\)/)
  t.true((await page.locator('[id^="figure-evidence-"] g[aria-label="bar"] rect').count()) >= 4)
  t.deepEqual(seen.errors, [])
})

browserTest('of shuffled answers nothing is claimed', async (t) => {
  const { file, discovered } = await pageOf('shuffled', shuffledAnswers(prompts, 5))
  t.is(discovered, 0)
  const { page, seen } = await open(file)
  await showAll(page)
  const text = await page.evaluate(() => document.body.innerText)
  t.is(await page.locator('.badge').textContent(), 'Not significant')
  t.regex(
    await page.locator('.headline').textContent(),
    /^No head is shown to read “order”: with random labels the strongest of 16 heads does as well\.$/,
  )
  t.regex(text, /none discovered/)
  t.regex(text, /No head of 16 passes: random labels do as well\./)
  t.regex(text, /Random labels do as well: the rank is 0\./)
  t.notRegex(text, /first among them|Most evidence|Significant, |replicated:|Random labels hardly/)
  t.deepEqual(seen.errors, [])
})
