/** Long work in JavaScript leaves the event loop free: other work has its turns meanwhile. */

import test from 'ava'
import { reportHtml } from '../dist/report/html.js'
import { groupedSigns, signedSums } from '../dist/spectrum/rank/exchange/signed-sums.js'
import { documentOf } from './helpers/browser.js'
import { wideDocument } from './helpers/wide-report.js'

/** How often the event loop came round while something ran. */
async function turnsDuring(work) {
  let turns = 0
  let timer = setImmediate(function tick() {
    turns += 1
    timer = setImmediate(tick)
  })
  const result = await work()
  clearImmediate(timer)
  return { turns, result }
}

test('a page of a thousand heads is packed in pieces, and holds what the document says', async (t) => {
  const document = wideDocument()
  const { turns, result } = await turnsDuring(() => reportHtml(document))
  // Trimmed, written and packed in one go it would be two or three.
  t.true(turns >= 10, `${turns}`)
  const page = documentOf(result)
  t.deepEqual(Object.keys(page), [...Object.keys(document), 'leftOut'])
  const [own] = document.results
  const [head, contrasts] = Object.entries(own.heads)[7]
  const [contrast, figures] = Object.entries(contrasts)[0]
  const rounded = (_key, value) => (typeof value === 'number' ? Number(value.toPrecision(7)) : value)
  const { spectrum, ...rest } = JSON.parse(JSON.stringify(figures, rounded))
  const { spectrum: cut, ...shown } = page.results[0].heads[head][contrast]
  t.deepEqual(shown, rest)
  t.deepEqual(cut, spectrum.slice(0, cut.length))
})

test('many short loops, one after another, leave the event loop free as a long one does', async (t) => {
  const units = 64
  const draws = 2000
  const bits = Uint32Array.from({ length: units * Math.ceil(draws / 32) }, (_, i) => Math.imul(i, 2654435761))
  const signs = await groupedSigns(bits, units, draws)
  const values = Float64Array.from({ length: units }, (_, i) => Math.sin(i))
  const { turns } = await turnsDuring(async () => {
    for (let i = 0; i < 4000; i++) {
      await signedSums(values, signs)
    }
  })
  t.true(turns >= 10, `${turns}`)
})
