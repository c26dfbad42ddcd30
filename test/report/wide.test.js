/** The page of a large model: below 5 MiB, every head of it in every map at any width, and within reach of the keyboard. */

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { reportHtml } from '../../dist/report/html.js'
import { browserFor, documentOf, showAll, withBrowser } from '../helpers/browser.js'
import { temporaryFolder } from '../helpers/files.js'
import { wideDocument } from '../helpers/wide-report.js'

const folder = temporaryFolder(test)
const open = browserFor(test)
const browserTest = withBrowser(test)

test('1,024 heads, 8 contrasts and 64 prompts of 128 tokens take less than 5 MiB; what is left out is said', async (t) => {
  const html = await reportHtml(wideDocument())
  t.true(html.length < 5 * 2 ** 20, `${(html.length / 2 ** 20).toFixed(2)} MiB`)
  const { results, explanations, leftOut } = documentOf(html)
  t.is(Object.keys(results[0].heads).length, 1024)
  t.is(explanations[0].prompts[0].heads.length, 1024)
  t.is(leftOut.length, 2)
  for (const own of Object.values(results[0].heads)) {
    for (const { spectrum, test: found } of Object.values(own)) {
      t.is(spectrum.length, found.discovered ? 128 : 16)
    }
  }
})

for (const [width, heads] of [
  [390, 40],
  [1280, 32],
]) {
  browserTest(
    `32 x ${heads} heads at ${width} pixels: every one is drawn, inside its map, and reached by keys`,
    async (t) => {
      const file = path.join(folder, `wide-${heads}.html`)
      writeFileSync(file, await reportHtml(wideDocument({ heads, contrasts: 2, prompts: 2, tokens: 24 })))
      const { page, seen } = await open(file, { width })
      await showAll(page)
      const maps = await page.locator('#heads figure').evaluateAll((all) =>
        all.map((figure) => {
          const frame = figure.querySelector('.plot').getBoundingClientRect()
          const rects = [...figure.querySelectorAll('rect[data-head]')].map((r) => r.getBoundingClientRect())
          return {
            count: rects.length,
            inside: rects.every((r) => r.left >= frame.left - 1 && r.right <= frame.right + 1),
            least: Math.min(...rects.map((r) => Math.min(r.width, r.height))),
            scrolls: figure.querySelector('.plot').scrollWidth > figure.querySelector('.plot').clientWidth,
          }
        }),
      )
      t.is(maps.length, 2)
      for (const { count, inside, least, scrolls } of maps) {
        t.is(count, 32 * heads)
        t.true(inside)
        t.false(scrolls)
        t.true(least >= 2, `${least}`)
      }
      const map = page.locator('#heads figure').first()
      await map.locator('rect[data-head][tabindex="0"]').focus()
      const first = await page.evaluate(() => document.activeElement.getAttribute('data-head'))
      const [, layer, head] = /L(\d+)H(\d+)/.exec(first).map(Number)
      await page.keyboard.press(layer < 31 ? 'ArrowDown' : 'ArrowUp')
      await page.keyboard.press(head < heads - 1 ? 'ArrowRight' : 'ArrowLeft')
      const wanted = `L${layer < 31 ? layer + 1 : layer - 1}H${head < heads - 1 ? head + 1 : head - 1}`
      t.is(await page.evaluate(() => document.activeElement.getAttribute('data-head')), wanted)
      t.regex(await page.locator('.tip').textContent(), new RegExp(`^${wanted}, contrast 0: attention`))
      await page.keyboard.press('Enter')
      t.true(page.url().includes(`#${wanted}/`))
      t.is(await map.locator('rect[aria-pressed="true"]').getAttribute('data-head'), wanted)
      t.deepEqual(seen, { errors: [], requests: [] })
    },
  )
}
