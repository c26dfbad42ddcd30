/** The paper's figures in the report, in a real browser: claims, verdicts, drawings beside their nulls, points that turn. */

import path from 'node:path'
import test from 'ava'
import { runPaper, writeReport } from '../../dist/index.js'
import { browserFor, showAll, withBrowser } from '../helpers/browser.js'
import { temporaryFolder } from '../helpers/files.js'
import { kept, savedFiles } from '../helpers/saved-figures.js'

const folder = temporaryFolder(test)
const open = browserFor(test)
const { csvOf } = savedFiles(folder)
const onlyPaper = path.join(folder, 'only-paper.html')
const SIZES = {
  toyPrompts: 600,
  clusters: 120,
  retrieval: 100,
  categories: 160,
  boxes: 120,
  heldOut: 40,
  randoms: 2,
  boxesWords: 1,
  trainToys: false,
}
const made = {}

test.before(async () => {
  made.paper = await runPaper({ sizes: SIZES })
  await writeReport(onlyPaper, { papers: [{ name: 'paper.json', value: made.paper }] })
})

const browserTest = withBrowser(test)

/** Where the points of a plot are seen, by their file's rows, and the rotation that they are seen under. */
async function seenPoints(page, figure) {
  const { circles, view } = await page.locator(`${figure} .plot`).evaluate((plot) => ({
    circles: [...plot.querySelectorAll('g.points path')].map((path) => {
      const [x, y] = /translate\(([^,]+),([^)]+)\)/.exec(path.getAttribute('transform')).slice(1).map(Number)
      return { x, y }
    }),
    view: plot.dataset.view.split(' ').map(Number),
  }))
  return { circles, view: [0, 3, 6].map((from) => view.slice(from, from + 3)) }
}

/** Checks that drawn circles are the points under the rotation, all by one scale: nothing is bent. */
async function isRigid(t, page, figure, points) {
  const { circles, view } = await seenPoints(page, figure)
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0)
  for (const [i, row] of view.entries()) {
    for (const [j, other] of view.entries()) {
      t.true(Math.abs(dot(row, other) - Number(i === j)) < 1e-5)
    }
  }
  t.is(circles.length, points.length)
  const mean = (list, of) => list.reduce((sum, item) => sum + of(item), 0) / list.length
  const centre = { x: mean(circles, (c) => c.x), y: mean(circles, (c) => c.y) }
  const middle = [0, 1, 2].map((i) => mean(points, (p) => p[i] ?? 0))
  const near = points.map((p) => [0, 1, 2].map((i) => (p[i] ?? 0) - middle[i]))
  const [right, up] = view
  const drawn = circles.map((c) => [c.x - centre.x, centre.y - c.y])
  const wanted = near.map((p) => [dot(right, p), dot(up, p)])
  const square = (list) => list.reduce((sum, [x, y]) => sum + x * x + y * y, 0)
  const scale = Math.sqrt(square(drawn) / square(wanted))
  const largest = scale * Math.max(...wanted.flat().map(Math.abs))
  // Circles stand in the order of their depth.
  for (const [x, y] of wanted) {
    t.true(drawn.some(([a, b]) => Math.hypot(a - scale * x, b - scale * y) < 0.01 * largest))
  }
  return { view, scale }
}

browserTest('a report of the paper alone: claims, verdicts, and a drawing of each figure', async (t) => {
  const { page, seen } = await open(onlyPaper)
  await showAll(page)
  t.is(await page.locator('h1').textContent(), 'The paper’s figures')
  t.deepEqual(await page.locator('nav a').allTextContents(), ['The paper’s figures'])
  const claims = made.paper.figures.flatMap(({ further = [], ...own }) => [own, ...further])
  const rows = page.locator('table.claims tbody tr')
  t.is(await rows.count(), claims.flatMap(({ decisive }) => decisive).length)
  t.deepEqual(
    await page.locator('table.claims td.verdict').allTextContents(),
    claims.map(({ verdict }) => verdict),
  )
  for (const { figure, claim, verdict, further = [], notes = [] } of made.paper.figures) {
    const part = page.locator(`#paper-1-figure-${figure}`)
    t.deepEqual(
      await part.locator('p.verdict').allTextContents(),
      [{ claim, verdict }, ...further].map((own) => `${own.verdict} ${own.claim}`),
    )
    t.deepEqual(
      await part.locator('p.note').allTextContents(),
      notes.map((note) => `Mind: ${note}`),
    )
    const svgs = await part.locator('figure').evaluateAll((all) =>
      all.map((f) => ({
        id: f.id,
        marks: [...f.querySelectorAll('svg rect, svg path, svg circle')].filter(
          (m) => m.getBoundingClientRect().width > 1,
        ).length,
        inside: f.querySelector('svg')?.getBoundingClientRect().right <= f.getBoundingClientRect().right + 1,
      })),
    )
    t.true(svgs.length > 0, figure)
    for (const { id, marks, inside } of svgs) {
      t.true(marks >= 2, id)
      t.true(inside, id)
    }
  }
  const ids = await page.locator('[id]').evaluateAll((all) => all.map((e) => e.id))
  t.is(new Set(ids).size, ids.length)
  t.deepEqual(seen, { errors: [], requests: [] })
})

const paperTable = (figure, name) => {
  const { columns, rows } = made.paper.figures
    .find((f) => f.figure === figure)
    .tables.find((own) => own.name === name)
  return rows.map((row) => Object.fromEntries(columns.map((column, c) => [column, row[c]])))
}

browserTest('the map of G tells its values, to the mouse and to keys; blocks are marked off', async (t) => {
  const { page, seen } = await open(onlyPaper)
  await showAll(page)
  const figure = page.locator('#figure-paper-1-figure-5-g-toy-task1-r3-r5-d16')
  const cells = figure.locator('g.cells rect')
  const values = paperTable('5', 'interaction').filter((row) => row.model === 'toy-task1-r3-r5-d16')
  t.is(await cells.count(), 64)
  const shown = (value) => (Math.abs(value) < 5e-4 ? '0.000' : value.toFixed(3).replace('-', '−'))
  const words = ({ 'query latent': query, 'key latent': key, value }) =>
    `Query ${query}, key ${key}: ${shown(value)}`
  t.deepEqual(
    await cells.evaluateAll((all) => all.map((c) => c.getAttribute('aria-label'))),
    values.map(words),
  )
  await cells.nth(3).hover()
  t.is(await figure.locator('.live').textContent(), words(values[3]))
  await cells.nth(3).focus()
  await page.keyboard.press('ArrowDown')
  t.is(await figure.locator('.live').textContent(), words(values[11]))
  await page.keyboard.press('ArrowLeft')
  t.is(await figure.locator('.live').textContent(), words(values[10]))
  t.is(await cells.nth(10).evaluate((e) => e === document.activeElement), true)
  const border = await figure
    .locator('g[aria-label="rule"] line')
    .first()
    .evaluate((l) => l.getBoundingClientRect().x)
  const [last, first] = [await cells.nth(2).boundingBox(), await cells.nth(3).boundingBox()]
  t.true(border >= last.x + last.width - 1 && border <= first.x + 1, 'between z1.3 and z2.1')
  const rows = await csvOf(page, figure.locator('button[data-kind="csv"]'))
  t.deepEqual(
    rows.map((r) => Number(r.value)),
    values.map((r) => kept(r.value)),
  )
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('swaps of the paper stand beside their controls, with intervals; its points turn', async (t) => {
  const { page, seen } = await open(onlyPaper)
  await showAll(page)
  const rows = paperTable('4', 'effects').filter(({ effect }) =>
    ['moved', 'flipped', 'answer lost'].includes(effect),
  )
  const figure = page.locator('#figure-paper-1-figure-4-moved')
  t.is(await figure.locator('g[aria-label="bar"] rect').count(), rows.length)
  t.is(await figure.locator('g.null-band rect').count(), rows.length)
  const within = rows.filter((row) => row['above null'] === false).length
  t.is(
    await figure
      .locator('svg text')
      .filter({ hasText: /^within null$/ })
      .count(),
    within,
  )
  const whiskers = await figure.locator('g[aria-label="rule"] line').count()
  t.true(whiskers >= rows.filter(({ low }) => low !== null).length)
  const file4 = await csvOf(page, figure.locator('button[data-kind="csv"]'))
  t.deepEqual(
    file4.map((r) => [r.edited, r.effect, Number(r.value), Number(r['null p95'])]),
    rows.map((r) => [r.edited, r.effect, kept(r.value), kept(r['null p95'])]),
  )
  const cube = '#figure-paper-1-figure-3-points-keys-z1'
  const points = paperTable('3', 'points')
    .filter((row) => row.latent === 'z1' && row.side === 'key')
    .map((row) => [row.pc1, row.pc2, row.pc3])
  const before = await isRigid(t, page, cube, points)
  t.is(await page.locator(`${cube} .legend span`).count(), 8)
  await page.locator(`${cube} .plot`).focus()
  await page.keyboard.press('ArrowRight')
  t.notDeepEqual((await isRigid(t, page, cube, points)).view, before.view)
  await page.locator('#paper-1-figure-8-9 .choices select').selectOption('apple, centred')
  t.regex(await page.locator('#figure-paper-1-figure-8-9-moved .title').textContent(), /apple, centred$/)
  t.deepEqual(seen, { errors: [], requests: [] })
})
