/** The report, in a real browser: it draws, answers to mouse and keys, gives its files, and reaches for nothing. */

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { csvParseRows } from 'd3'
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
  readInterventions,
  runPaper,
  writeReport,
} from '../dist/index.js'
import { writeJsonFile } from '../dist/store/json-file.js'
import { decomposeToy } from '../dist/toy/decompose.js'
import { browserFor, withBrowser } from './helpers/browser.js'
import { cli, temporaryFolder } from './helpers/files.js'
import { ENERGY } from './helpers/rank-rules.js'

const folder = temporaryFolder(test)
const open = browserFor(test)
const file = path.join(folder, 'report.html')
const bare = path.join(folder, 'bare.html')
const withoutNulls = path.join(folder, 'without-nulls.html')
const onlyPaper = path.join(folder, 'only-paper.html')
const SIZES = {
  ...{ toyPrompts: 600, clusters: 120, retrieval: 100, categories: 160, boxes: 120, heldOut: 40, randoms: 2 },
  ...{ boxesWords: 1, trainToys: false },
}
const made = {}

test.before(async () => {
  const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
  const base = { ...bundledWords(), prompts: 24, seed: 1 }
  const sums = await accumulate(model, [
    ...boxesOrder(base),
    ...boxesLexical(base, 'text and question', 'lexical'),
  ])
  made.result = await decompose(sums, { rank: ENERGY, spectrum: true, nulls: 20 })
  made.cut = await decompose(sums, { rank: ENERGY })
  disposeSums(sums)
  const held = boxesOrder({ ...base, prompts: 12, seed: 2 })
  const { result } = made
  made.attribution = await attribute(model, held, { result, heads: 'L3H0,L2H0' })
  made.interventions = await intervene(model, held, { result, heads: 'L3H0,L2H0', randoms: 2 })
  const results = [{ name: 'boxes', value: result }]
  await writeReport(file, {
    results,
    // What a name or a prompt says must never end the script that holds it, nor become markup.
    attributions: [{ name: '</script><b>held out', value: made.attribution }],
    interventions: [{ name: 'held out', value: made.interventions }],
  })
  const old = { result: made.cut, heads: 'L3H0', randoms: 1 }
  await writeReport(withoutNulls, {
    results: [{ name: 'boxes', value: made.cut }],
    attributions: [{ name: 'held out', value: await attribute(model, held, old) }],
    interventions: [{ name: 'held out', value: await intervene(model, held, old) }],
  })
  await writeReport(bare, { results: [{ name: 'boxes', value: made.cut }] })
  made.paper = await runPaper({ sizes: SIZES })
  await writeReport(onlyPaper, { papers: [{ name: 'paper.json', value: made.paper }] })
})

const browserTest = withBrowser(test)

/** The rows of a small CSV file, as objects; fields of ours hold no line breaks. */
async function csvOf(page, button) {
  const [head, ...rows] = csvParseRows(readFileSync(await download(page, button), 'utf8'))
  return rows
    .filter((row) => row.length === head.length)
    .map((row) => Object.fromEntries(row.map((value, i) => [head[i], value])))
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
  t.true(figures.length >= 2 + 2 + 2 + 3 + 2)
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
  await page.locator('[id^="figure-scores-"] g.hits rect').nth(5).hover()
  t.regex(await live.textContent(), /^Token 5/, 'a bar tells what its token tells')
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

browserTest('every bar stands beside its null subspaces, and what they reach is marked', async (t) => {
  const { page, seen } = await open(file)
  const rowsOf = async (figure) => {
    const rows = await csvOf(page, page.locator(`${figure} button[data-kind="csv"]`))
    const bands = await page.locator(`${figure} g.null-band rect`).count()
    const marks = await page.locator(`${figure} svg text`, { hasText: 'within null' }).count()
    t.is(bands, rows.length)
    t.is(marks, rows.filter((r) => r.within === 'true').length)
    t.regex(await page.locator(`${figure} .legend`).textContent(), /null subspaces.*key.*mean query.*Haar/)
    return rows
  }
  const explained = await rowsOf('[id^="figure-explained-"]')
  const { order } = made.attribution.heads.L3H0.contrasts
  const own = explained.find((r) => r.head === 'L3H0' && r.by === 'order')
  t.is(Number(own.mean), order.own.energy.mean)
  t.is(Number(own.nullTop), order.own.controls.nulls.p95)
  t.is(Number(own.keys), order.own.controls.keys)
  t.is(Number(own.meanQuery), order.own.controls.meanQuery)
  t.is(Number(own.random), order.own.controls.random.mean)
  await page.locator('#interventions select').selectOption('L3H0')
  const effects = await rowsOf('[id^="figure-effects-"]')
  const nulls = made.interventions.variants.find((v) => v.kind === 'null' && v.name.endsWith(' order'))
  const flips = effects.find((r) => r.edited === 'order' && r.measure === 'flipped')
  t.is(Number(flips.nullMean), nulls.heads.L3H0.flipRate.mean)
  t.is(Number(flips.nullTop), nulls.heads.L3H0.p95.flipRate)
  await rowsOf('[id^="figure-kl-"]')
  t.deepEqual(seen, { errors: [], requests: [] })
  const { page: old } = await open(withoutNulls)
  for (const section of ['#attribution', '#interventions']) {
    t.regex(await old.locator(section).textContent(), /No null: the result was made without null subspaces/)
    t.true((await old.locator(`${section} svg text`, { hasText: 'no null' }).count()) > 0)
  }
})

browserTest('singular values that were cut off are told from those that were kept', async (t) => {
  const { page, seen } = await open(file)
  await page.locator('#figure-map-order rect[data-head="L3H0"]').click()
  const { rank, spectrum } = made.result.head('L3H0').contrast('order')
  const bars = await page
    .locator('#figure-singular-values g[aria-label="bar"] rect')
    .evaluateAll((all) =>
      all.map((r) => ({ fill: r.getAttribute('fill'), right: r.getBoundingClientRect().right })),
    )
  t.is(bars.length, spectrum.length)
  t.is(new Set(bars.slice(0, rank).map((b) => b.fill)).size, 1)
  t.is(new Set(bars.slice(rank).map((b) => b.fill)).size, 1)
  t.not(bars[0].fill, bars[rank].fill)
  const cut = await page
    .locator(
      '#figure-singular-values g[aria-label="rule"] line[stroke-dasharray], #figure-singular-values g[stroke-dasharray] line',
    )
    .evaluateAll((all) => all.map((l) => l.getBoundingClientRect().x))
  t.is(cut.length, 1)
  t.true(
    Math.abs(cut[0] - bars[rank - 1].right) < 4,
    'the cut is between the last kept and the first cut off',
  )
  const rows = await csvOf(page, page.locator('#figure-singular-values button[data-kind="csv"]'))
  t.deepEqual(
    rows.map((r) => r.kept),
    Array.from(spectrum, (_, i) => `${i < rank}`),
  )
  t.true(rows.every((r, i) => Math.abs(r.singularValue - spectrum[i]) <= 1e-7 * spectrum[0]))
  const { page: without } = await open(bare)
  await without.locator('#figure-map-order rect[data-head="L3H0"]').click()
  t.is(await without.locator('#figure-singular-values g[aria-label="bar"] rect').count(), rank)
  t.deepEqual(seen, { errors: [], requests: [] })
})

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
    for (const [j, other] of view.entries()) t.true(Math.abs(dot(row, other) - Number(i === j)) < 1e-5)
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

const cloudOf = ({ heads }, head) => {
  const { shares, coordinates } = heads[head]
  return Array.from({ length: coordinates.length / shares.length }, (_, i) =>
    coordinates.slice(i * shares.length, (i + 1) * shares.length),
  )
}

browserTest('points turn by the mouse and by keys, and keep their distances', async (t) => {
  const { page, seen } = await open(file)
  await page.locator('#figure-map-order rect[data-head="L3H0"]').click()
  const figure = '#figure-key-points-1'
  t.regex(await page.locator(`${figure} .title`).textContent(), /Keys in V of L3H0, order/)
  const points = cloudOf(made.attribution.points.order.key, 'L3H0')
  t.true(points.length >= 50)
  const start = await isRigid(t, page, figure, points)
  const plot = page.locator(`${figure} .plot`)
  await plot.scrollIntoViewIfNeeded()
  const box = await plot.boundingBox()
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2)
  await page.mouse.down()
  await page.mouse.move(box.x + box.width / 2 + 80, box.y + box.height / 2 + 30, { steps: 6 })
  await page.mouse.up()
  await page.waitForFunction(
    ([selector, before]) => document.querySelector(selector).dataset.view !== before,
    [
      `${figure} .plot`,
      start.view
        .flat()
        .map((x) => x.toFixed(6))
        .join(' '),
    ],
  )
  const dragged = await isRigid(t, page, figure, points)
  t.notDeepEqual(dragged.view, start.view)
  t.true(Math.abs(dragged.scale / start.scale - 1) < 1e-3, 'it neither grows nor shrinks')
  await plot.focus()
  for (const key of ['ArrowRight', 'ArrowUp', 'ArrowLeft', 'ArrowDown']) {
    const before = await isRigid(t, page, figure, points)
    await page.keyboard.press(key)
    const after = await isRigid(t, page, figure, points)
    t.notDeepEqual(after.view, before.view, key)
  }
  await page.keyboard.press('Home')
  t.deepEqual((await isRigid(t, page, figure, points)).view, start.view)
  t.regex(await plot.getAttribute('aria-label'), /^Keys in V of L3H0, order\..*arrow keys/)
  t.true(await plot.evaluate((e) => e === document.activeElement), 'the focus stays')
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('points are coloured by label, follow the head, and give their files', async (t) => {
  const { page, seen } = await open(file)
  await page.locator('#figure-map-order rect[data-head="L3H0"]').click()
  const legend = () => page.locator('#figure-key-points-1 .legend span').allTextContents()
  t.deepEqual(await legend(), ['1st', '2nd', '3rd', '4th', '5th', 'positive', 'negative'])
  t.is(await page.locator('#figure-query-points-1 .legend span').count(), 5)
  const fills = await page
    .locator('#figure-query-points-1 g.points path')
    .evaluateAll((all) => all.map((p) => p.getAttribute('fill')))
  t.is(new Set(fills).size, 5)
  await page.locator('#figure-map-order rect[data-head="L2H0"]').click()
  t.is(await page.locator('#geometry select').first().inputValue(), 'L2H0')
  t.regex(await page.locator('#figure-query-points-1 .title').textContent(), /U of L2H0/)
  await page.locator('#geometry select').nth(1).selectOption('lexical')
  const { labels, roles, ...cloud } = made.attribution.points.lexical.key
  const rows = await csvOf(page, page.locator('#figure-key-points-1 button[data-kind="csv"]'))
  const points = cloudOf(cloud, 'L2H0')
  t.deepEqual(
    rows,
    points.map((at, i) => ({
      ...{ head: 'L2H0', feature: 'lexical', side: 'key', label: labels[i], role: roles[i] },
      ...Object.fromEntries(at.map((value, c) => [`pc${c + 1}`, `${value}`])),
    })),
  )
  const svg = readFileSync(
    await download(page, page.locator('#figure-key-points-1 button[data-kind="svg"]')),
    'utf8',
  )
  t.regex(svg, /PC1 \d+%/)
  t.regex(svg, /1st/)
  const png = readFileSync(await download(page, page.locator('#figure-key-points-1 button[data-kind="png"]')))
  t.is(png.subarray(1, 4).toString('latin1'), 'PNG')
  // The tip that follows the pointer.
  await page.locator('#figure-key-points-1 g.points path').last().hover({ force: true })
  t.regex(
    await page.locator('#figure-key-points-1 g[aria-label="tip"]').textContent(),
    /(positive|negative).*PC1/s,
  )
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('a report of the paper alone: claims, verdicts, and a drawing of each figure', async (t) => {
  const { page, seen } = await open(onlyPaper)
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
    values.map((r) => r.value),
  )
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('swaps of the paper stand beside their controls, with intervals; its points turn', async (t) => {
  const { page, seen } = await open(onlyPaper)
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
    rows.map((r) => [r.edited, r.effect, r.value, r['null p95']]),
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
  for (const one of [file, onlyPaper]) {
    const { page, seen } = await open(one, { width: 390 })
    await page.evaluate(() => {
      for (const details of document.querySelectorAll('details')) details.open = true
    })
    const { scroll, inner } = await page.evaluate(() => ({
      scroll: document.documentElement.scrollWidth,
      inner: innerWidth,
    }))
    t.true(scroll <= inner, `${scroll} of ${inner}`)
    t.deepEqual(seen, { errors: [], requests: [] })
  }
})

browserTest('what is absent is said, with the command that adds it', async (t) => {
  const { page, seen } = await open(bare)
  t.regex(await page.locator('#interventions').textContent(), /No intervention.*qkspace intervene/)
  t.regex(await page.locator('#attribution').textContent(), /No attribution.*qkspace attribute/)
  t.regex(await page.locator('#geometry').textContent(), /No points.*qkspace attribute … --points/)
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('another result is chosen by its name', async (t) => {
  const several = path.join(folder, 'several.html')
  const toy = await decomposeToy(await openModel(bundledFile('toy-task1-r3-r3-d16.onnx')), { rank: ENERGY })
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
  await writeReport(again, { results: [{ name: 'boxes', value: made.cut }] })
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
  const noPaper = run('--paper', document)
  t.is(noPaper.status, 1)
  t.regex(noPaper.stderr, /a\.json was not written by `qkspace paper`/)
  t.is(run().status, 2)
  return made.result.save(result).then(() => {
    const wrong = run(result, '--attribution', document)
    t.is(wrong.status, 1)
    t.regex(wrong.stderr, /a\.json was not written by `qkspace attribute --out`/)
    t.false(existsSync(out))
    const right = run(result, '--json')
    t.is(right.status, 0)
    t.like(JSON.parse(right.stdout), { report: out, heads: [16] })
    const paper = path.join(folder, 'paper.json')
    writeFileSync(paper, JSON.stringify(made.paper))
    const alone = run('--paper', paper, '--json')
    t.is(alone.status, 0)
    t.deepEqual(JSON.parse(alone.stdout).papers, [paper])
  })
})

test('a document of the other kind is named', async (t) => {
  const document = path.join(folder, 'i.json')
  await writeJsonFile(document, made.interventions)
  const error = await t.throwsAsync(readAttribution(document), { instanceOf: QkError })
  t.is(error.code, 'ERR_FORMAT')
  t.regex(error.hint, /--interventions/)
})

test('documents of before figures stood beside their controls are refused, with what to run', async (t) => {
  const document = path.join(folder, 'before.json')
  const { energy, share } = made.attribution.heads.L3H0.contrasts.order
  await writeJsonFile(document, { ...made.attribution, heads: { L3H0: { energy, share } } })
  const split = await t.throwsAsync(readAttribution(document), {
    code: 'ERR_FORMAT',
    message: /earlier version/,
  })
  t.regex(split.hint, /qkspace attribute --out/)
  const variants = made.interventions.variants.map(({ contrasts, terms, ...v }) => v)
  const edits = path.join(folder, 'edits-before.json')
  await writeJsonFile(edits, { ...made.interventions, variants })
  await t.throwsAsync(readInterventions(edits), { code: 'ERR_FORMAT', message: /earlier version/ })
})
