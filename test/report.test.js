/** The report, in a real browser: it draws, answers to mouse and keys, gives its files, and reaches for nothing. */

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { bundledFile, bundledWords } from '../dist/bundled/files.js'
import {
  accumulate,
  attribute,
  boxesLexical,
  boxesOrder,
  decompose,
  disposeSums,
  intervene,
  openModel,
  QkError,
  readAttribution,
  writeReport,
} from '../dist/index.js'
import { writeJsonFile } from '../dist/store/json-file.js'
import { decomposeToy } from '../dist/toy/decompose.js'
import { browserFor, withBrowser } from './helpers/browser.js'
import { cli, temporaryFolder } from './helpers/files.js'

const folder = temporaryFolder(test)
const open = browserFor(test)
const file = path.join(folder, 'report.html')
const bare = path.join(folder, 'bare.html')
const made = {}

test.before(async () => {
  const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
  const base = { ...bundledWords(), prompts: 24, seed: 1 }
  const sums = await accumulate(model, [
    ...boxesOrder(base),
    ...boxesLexical(base, 'text and question', 'lexical'),
  ])
  made.result = await decompose(sums)
  disposeSums(sums)
  const held = boxesOrder({ ...base, prompts: 12, seed: 2 })
  const { result } = made
  made.attribution = await attribute(model, held, { result, heads: 'L3H0,L2H0', centered: true })
  made.interventions = await intervene(model, held, { result, heads: 'L3H0,L2H0', randoms: 2 })
  const results = [{ name: 'boxes', value: result }]
  await writeReport(file, {
    results,
    // What a name or a prompt says must never end the script that holds it, nor become markup.
    attributions: [{ name: '</script><b>held out', value: made.attribution }],
    interventions: [{ name: 'held out', value: made.interventions }],
  })
  await writeReport(bare, { results })
})

const browserTest = withBrowser(test)

/** The rows of a small CSV file, as objects; fields of ours hold no line breaks. */
async function csvOf(page, button) {
  const text = readFileSync(await download(page, button), 'utf8')
  return page
    .evaluate((csv) => globalThis.d3.csvParseRows(csv), text)
    .then(([head, ...rows]) =>
      rows
        .filter((r) => r.length === head.length)
        .map((row) => Object.fromEntries(row.map((v, i) => [head[i], v]))),
    )
}

async function download(page, button) {
  const [got] = await Promise.all([page.waitForEvent('download'), button.click()])
  const saved = path.join(folder, got.suggestedFilename())
  await got.saveAs(saved)
  return saved
}

browserTest('every figure is drawn, without complaint and without a request', async (t) => {
  const { page, seen } = await open(file)
  const figures = await page.evaluate(() =>
    [...document.querySelectorAll('figure')].map((figure) => {
      const marks = [...figure.querySelectorAll('svg rect, svg path, svg circle')]
      const sized = marks.filter((m) => {
        const { width, height } = m.getBoundingClientRect()
        return width > 1 && height > 1
      })
      const buttons = [...figure.querySelectorAll('button')].map((b) => b.getAttribute('aria-label'))
      const svg = figure.querySelector('svg')?.getBoundingClientRect()
      const box = figure.getBoundingClientRect()
      return { id: figure.id, marks: sized.length, buttons, inside: svg && svg.right <= box.right + 1 }
    }),
  )
  t.true(figures.length >= 2 + 2 + 3 + 2)
  t.is(new Set(figures.map((f) => f.id)).size, figures.length)
  for (const { id, marks, buttons, inside } of figures) {
    t.true(marks >= 2, id)
    t.true(inside, `${id} fits its figure`)
    t.is(buttons.length, 3)
    for (const label of buttons) t.regex(label, /^Download “.+” as (SVG|PNG|CSV)$/)
  }
  t.is(await page.locator('main b').count(), 0, 'names are text, not markup')
  const levels = await page
    .locator('h1, h2, h3, h4')
    .evaluateAll((all) => all.map((h) => Number(h.tagName[1])))
  levels.forEach((level, i) => {
    t.true(level <= (levels[i - 1] ?? 0) + 1, 'headings in order')
  })
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('a cell selects its head everywhere, by mouse and by keys', async (t) => {
  const { page, seen } = await open(file)
  const lead = page.locator('#head .lead')
  const bars = () => page.locator('#figure-singular-values svg').innerHTML()
  await page.locator('#figure-map-order rect[data-head="L3H0"]').click()
  t.regex(await lead.textContent(), /^L3H0 for “order”: rank \d+/)
  const before = await bars()
  await page.locator('#figure-map-order rect[data-head="L2H0"]').click()
  t.regex(await lead.textContent(), /^L2H0/)
  t.not(await bars(), before)
  t.regex(await page.locator('[id^="figure-attention-"] .title').textContent(), /L2H0/)
  t.regex(await page.locator('[id^="figure-scores-"] .title').textContent(), /L2H0/)
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  t.regex(await lead.textContent(), /^L3H0/)
  t.is(await bars(), before)
  t.is(await page.locator('.bar select').last().inputValue(), 'L3H0')
  await page.locator('#heads select').selectOption('norm')
  t.regex(await page.locator('#figure-map-order figcaption').textContent(), /‖ΔC‖/)
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('tokens tell their numbers, by mouse and by keys', async (t) => {
  const { page, seen } = await open(file)
  const live = page.locator('#attribution .live')
  const example = made.attribution.examples[0]
  const row = example.rows.find(
    (r) => r.head === (made.attribution.heads.L3H0 ? 'L3H0' : example.rows[0].head),
  )
  await page.locator('#attribution .choices select').nth(1).selectOption({ label: row.head })
  await page.locator('#attribution [data-token="6"]').hover()
  const shown = (value) =>
    value
      .toFixed(3)
      .replace(/^-(0\.000)$/, '$1')
      .replace('-', '−')
  t.true((await live.textContent()).includes(`full score ${shown(row.total[6])} `))
  await page.locator('#attribution [data-token="6"]').focus()
  await page.keyboard.press('ArrowRight')
  const text = await live.textContent()
  t.true(text.startsWith(`Token 7, “${example.words[7]}”`))
  for (const [name, values] of Object.entries(row.parts)) t.true(text.includes(`${name} ${shown(values[7])}`))
  await page.keyboard.press('Home')
  t.regex(await live.textContent(), /^Token 0/)
  const shade = () => page.locator('#attribution [data-token="6"]').evaluate((e) => e.style.background)
  const before = await shade()
  await page.locator('#attribution .choices select').nth(2).selectOption('rest')
  t.not(await shade(), before)
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('parts stack: positive ones above zero, negative ones below', async (t) => {
  const { page } = await open(file)
  const figure = page.locator('[id^="figure-scores-"]')
  const rects = await figure
    .locator('g[aria-label="bar"]')
    .first()
    .locator('rect')
    .evaluateAll((all) =>
      all.map((r) => ({ y: Number(r.getAttribute('y')), height: Number(r.getAttribute('height')) })),
    )
  const zero = await figure
    .locator('g[aria-label="rule"] line')
    .first()
    .evaluate((l) => l.getBoundingClientRect().y - l.ownerSVGElement.getBoundingClientRect().y)
  t.true(rects.some((r) => r.height > 1 && r.y >= zero - 1.5))
  t.true(rects.every((r) => r.y >= zero - 1.5 || r.y + r.height <= zero + 1.5))
})

browserTest('files hold what the documents hold', async (t) => {
  const { page, seen } = await open(file)
  const button = (figure, kind) => page.locator(`${figure} button[data-kind="${kind}"]`)
  const map = await csvOf(page, button('#figure-map-order', 'csv'))
  t.is(map.length, made.result.headNames.length)
  for (const { head, scoreGap, rank } of map) {
    const found = made.result.head(head).contrast('order')
    t.is(Number(scoreGap), found.scoreGap)
    t.is(Number(rank), found.rank)
  }
  await page.locator('#interventions select').selectOption('L3H0')
  const edits = await csvOf(page, button('[id^="figure-attention-"]', 'csv'))
  for (const { edited, key, mean, low, high } of edits.filter((r) => r.kind !== 'before')) {
    const { after } = made.interventions.variants.find((v) => v.name === edited).heads.L3H0[key]
    t.deepEqual([Number(mean), Number(low), Number(high)], [after.mean, after.low, after.high])
  }
  const scores = await csvOf(page, button('[id^="figure-scores-"]', 'csv'))
  const head = await page
    .locator('#attribution .choices select')
    .nth(1)
    .locator('option:checked')
    .textContent()
  const row = made.attribution.examples[0].rows.find((r) => r.head === head)
  t.deepEqual(
    scores.map((r) => Number(r.total)),
    row.total,
  )
  t.deepEqual(
    scores.map((r) => Number(r.order)),
    row.parts.order,
  )
  const svg = readFileSync(await download(page, button('#figure-energy', 'svg')), 'utf8')
  const parsed = await page.evaluate((text) => {
    const { documentElement: root } = new DOMParser().parseFromString(text, 'image/svg+xml')
    return { name: root.nodeName, rects: root.querySelectorAll('rect').length, text: root.textContent }
  }, svg)
  t.is(parsed.name, 'svg')
  t.true(parsed.rects > 2)
  t.regex(parsed.text, /Energy held/)
  const png = readFileSync(await download(page, button('#figure-energy', 'png')))
  t.is(png.subarray(1, 4).toString('latin1'), 'PNG')
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('dark, by the system or by the button', async (t) => {
  const background = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
  const { page: light } = await open(file)
  const { page: dark, seen } = await open(file, { colorScheme: 'dark' })
  t.not(await background(light), await background(dark))
  const chosen = await background(dark)
  await light.locator('.theme').click()
  t.is(await background(light), chosen)
  await dark.emulateMedia({ media: 'print' })
  t.is(await background(dark), 'rgb(255, 255, 255)')
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('a narrow page does not scroll sideways', async (t) => {
  const { page, seen } = await open(file, { width: 390 })
  for (const summary of await page.locator('.numbers summary').all()) await summary.click()
  const { scroll, inner } = await page.evaluate(() => ({
    scroll: document.documentElement.scrollWidth,
    inner: innerWidth,
  }))
  t.true(scroll <= inner, `${scroll} of ${inner}`)
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('what is absent is said, with the command that adds it', async (t) => {
  const { page, seen } = await open(bare)
  t.regex(await page.locator('#interventions').textContent(), /No intervention.*qkspace intervene/)
  t.regex(await page.locator('#attribution').textContent(), /No attribution.*qkspace attribute/)
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('another result is chosen by its name', async (t) => {
  const several = path.join(folder, 'several.html')
  const toy = await decomposeToy(await openModel(bundledFile('toy-task1-r3-r3-d16.onnx')))
  await writeReport(several, {
    results: [
      { name: 'boxes', value: made.result },
      { name: 'toy', value: toy },
    ],
  })
  const { page, seen } = await open(several)
  await page.locator('.bar select').first().selectOption({ label: 'toy' })
  t.regex(await page.locator('#head .lead').textContent(), /^L0H0 for “z1”: rank 3/)
  t.is(await page.locator('#figure-map-z2 svg rect[data-head]').count(), 1)
  t.regex(await page.locator('#overview').textContent(), /toy-task1-r3-r3-d16\.onnx/)
  await page.locator('.bar select').nth(1).selectOption('z2')
  t.regex(await page.locator('#head .lead').textContent(), /^L0H0 for “z2”/)
  t.deepEqual(seen, { errors: [], requests: [] })
})

test('the same parts give the same bytes', async (t) => {
  const again = path.join(folder, 'again.html')
  await writeReport(again, { results: [{ name: 'boxes', value: made.result }] })
  t.deepEqual(readFileSync(again), readFileSync(bare))
})

test('a report replaces a report, and no other file', async (t) => {
  const results = [{ name: 'boxes', value: made.result }]
  const own = path.join(folder, 'own.html')
  await writeReport(own, { results })
  await t.notThrowsAsync(writeReport(own, { results }))
  const other = path.join(folder, 'other.html')
  writeFileSync(other, '<!doctype html>\n<html lang="en"><p>Thesis</p>')
  const error = await t.throwsAsync(writeReport(other, { results }), { instanceOf: QkError })
  t.is(error.code, 'ERR_FILE')
  t.regex(readFileSync(other, 'utf8'), /Thesis/)
})

test('the command names a file of the wrong kind, and leaves nothing behind', (t) => {
  const document = path.join(folder, 'a.json')
  writeFileSync(document, '{"heads": {}}')
  const result = path.join(folder, 'r.safetensors')
  const out = path.join(folder, 'failed.html')
  const run = (...args) =>
    spawnSync(process.execPath, [cli, 'report', ...args, '--out', out], { encoding: 'utf8' })
  const noResult = run(document)
  t.is(noResult.status, 1)
  t.regex(noResult.stderr, /a\.json/)
  t.is(run().status, 2)
  return made.result.save(result).then(() => {
    const wrong = run(result, '--attribution', document)
    t.is(wrong.status, 1)
    t.regex(wrong.stderr, /a\.json was not written by `qkspace attribute --out`/)
    t.false(existsSync(out))
    const right = run(result, '--json')
    t.is(right.status, 0)
    t.like(JSON.parse(right.stdout), { report: out, heads: [16] })
  })
})

test('a document of the other kind is named', async (t) => {
  const document = path.join(folder, 'i.json')
  await writeJsonFile(document, made.interventions)
  const error = await t.throwsAsync(readAttribution(document), { instanceOf: QkError })
  t.is(error.code, 'ERR_FORMAT')
  t.regex(error.hint, /--interventions/)
})
