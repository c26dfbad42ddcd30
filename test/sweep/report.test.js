/** What the page says of a sweep: attention and evidence where there is any, and nothing of shuffled answers. */

import path from 'node:path'
import test from 'ava'
import { boxesOrder, bundledFile, bundledWords, openModel, sweep, writeReport } from '../../dist/index.js'
import { browserFor, withBrowser } from '../helpers/browser.js'
import { temporaryFolder } from '../helpers/files.js'
import { shuffledAnswers } from '../helpers/shuffled-answers.js'

const folder = temporaryFolder(test)
const open = browserFor(test)
const browserTest = withBrowser(test)

async function pageOf(name, prompts) {
  const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
  const { result } = await sweep(model, prompts, { heldOut: 0 })
  const found = result.headNames.filter((head) => result.head(head).contrast('order').test.discovered)
  const file = path.join(folder, `${name}.html`)
  await writeReport(file, { results: [{ name, value: result }] })
  return { file, discovered: found.length }
}

const prompts = boxesOrder({ ...bundledWords(), prompts: 300, seed: 1 })

browserTest('the map opens on the head that attends, with its attention and its p', async (t) => {
  const { file, discovered } = await pageOf('real', prompts)
  t.true(discovered > 1)
  const { page, seen } = await open(file)
  const text = await page.evaluate(() => document.body.innerText)
  t.regex(text, /Most evidence: L3H0, with 9\d\.\d% of its attention on the positive keys/)
  t.true((await page.locator('#overview').innerText()).includes(`${discovered} of 16`))
  const cell = page.locator('rect[data-head="L3H0"]').first()
  t.is(await cell.getAttribute('aria-pressed'), 'true')
  t.regex(await cell.getAttribute('aria-label'), /attention 9\d\.\d%, p 0\.0001\d*, score gap 5/)
  await page.locator('#heads select').selectOption('evidence')
  t.regex(await page.locator('#heads figcaption, #heads figure').first().innerText(), /−log₁₀ p/)
  t.deepEqual(seen.errors, [])
})

browserTest('of shuffled answers nothing is claimed', async (t) => {
  const { file, discovered } = await pageOf('shuffled', shuffledAnswers(prompts, 5))
  t.is(discovered, 0)
  const { page, seen } = await open(file)
  const text = await page.evaluate(() => document.body.innerText)
  t.regex(text, /none discovered/)
  t.regex(text, /No head is discovered: exchanged prompts show as much\./)
  t.regex(text, /Exchanged prompts show as much \(p = /)
  t.notRegex(text, /Most evidence|Most attention|strongest|more than exchanged prompts show \(/)
  t.deepEqual(seen.errors, [])
})
