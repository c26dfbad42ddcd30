/** A page of an explanation alone, as `explain --out why.html` writes it: heads, tokens, and nothing that needs a result. */

import path from 'node:path'
import test from 'ava'
import { explain, writeReport } from '../../dist/index.js'
import { browserFor, showAll, withBrowser } from '../helpers/browser.js'
import { temporaryFolder } from '../helpers/files.js'
import { openBoxes } from '../helpers/report-parts.js'
import { kept, savedFiles } from '../helpers/saved-figures.js'

const folder = temporaryFolder(test)
const open = browserFor(test)
const { csvOf } = savedFiles(folder)
const file = path.join(folder, 'why.html')
const text = 'The rope is in Box N, the nail is in Box D. Which box is the rope in? Box'
const made = {}

test.before(async () => {
  made.explanation = await explain(await openBoxes(), { text })
  await writeReport(file, { explanations: [{ name: 'the given prompt', value: made.explanation }] })
})

const browserTest = withBrowser(test)

browserTest('heads by their attention; one that is chosen is shown, and named in the address', async (t) => {
  const { page, seen } = await open(file)
  await showAll(page)
  t.is(await page.locator('h1').textContent(), 'boxes.onnx')
  t.deepEqual(await page.locator('nav a').allTextContents(), ['Attention'])
  const { heads } = made.explanation.prompts[0]
  const figure = '#figure-heads-of-prompt'
  const rows = await csvOf(page, page.locator(`${figure} button[data-kind="csv"]`))
  t.is(rows.length, heads.length)
  for (const { head, token, attention } of rows) {
    const own = heads.find((one) => one.head === head)
    t.deepEqual(
      [Number(token), Number(attention)],
      [own.key, kept(Number(own.attention[own.key].toFixed(4)))],
    )
  }
  await page.locator(`${figure} rect[data-head="L3H0"]`).click()
  t.regex(page.url(), /#L3H0$/)
  t.regex(
    await page.locator('[id^="figure-profile-"] .title').textContent(),
    /^Attention of L3H0 from “Box” \(token 22\)$/,
  )
  const profile = await csvOf(page, page.locator('[id^="figure-profile-"] button[data-kind="csv"]'))
  const own = heads.find(({ head }) => head === 'L3H0')
  t.deepEqual(
    profile.map(({ attention }) => Number(attention)),
    own.attention.map((value) => Number(value.toFixed(4))),
  )
  t.regex(
    await page.locator('[id^="figure-pattern-"]').textContent(),
    /qkspace explain --model boxes\.onnx .*--head L3H0/,
  )
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('the address chooses a head', async (t) => {
  const { page, seen } = await open(file, { hash: '#L2H0', width: 390 })
  t.regex(await page.locator('[id^="figure-profile-"] .title').textContent(), /^Attention of L2H0/)
  t.true(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth))
  t.deepEqual(seen, { errors: [], requests: [] })
})
