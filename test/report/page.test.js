/** The report of a tested result, in a real browser: it draws, follows one selection, gives its files, and reaches for nothing. */

import { readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { writeReport } from '../../dist/index.js'
import { browserFor, documentOf, showAll, withBrowser } from '../helpers/browser.js'
import { temporaryFolder } from '../helpers/files.js'
import { testedPage, testedParts, untestedParts } from '../helpers/report-parts.js'
import { kept, savedFiles } from '../helpers/saved-figures.js'

const folder = temporaryFolder(test)
const open = browserFor(test)
const { csvOf } = savedFiles(folder)
const withoutNulls = path.join(folder, 'without-nulls.html')
const bare = path.join(folder, 'bare.html')
const made = {}
let file

test.before(async () => {
  Object.assign(made, await testedParts())
  file = await testedPage(folder, made)
  const untested = await untestedParts()
  const results = [{ name: 'untested.safetensors', value: untested.result }]
  await writeReport(withoutNulls, {
    results,
    attributions: [{ name: 'held out', value: untested.attribution }],
    interventions: [{ name: 'held out', value: untested.interventions }],
  })
  await writeReport(bare, { results })
})

const browserTest = withBrowser(test)
const button = (page, figure, kind) => page.locator(`${figure} button[data-kind="${kind}"]`)
const select = (page, head, contrast = 'order') =>
  page.evaluate((hash) => {
    location.hash = hash
  }, `#${head}/${contrast}`)
const settled = (page) => page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 50)))

for (const [width, colorScheme] of /** @type {const} */ ([
  [390, 'dark'],
  [1280, 'light'],
  [1280, 'dark'],
  [1920, 'light'],
])) {
  browserTest(`every figure is drawn inside its frame, at ${width} pixels, ${colorScheme}`, async (t) => {
    const { page, seen } = await open(file, { width, colorScheme })
    await showAll(page, { unfold: true })
    const figures = await page.evaluate(() =>
      [...document.querySelectorAll('figure')]
        .filter((figure) => figure.offsetParent !== null)
        .map((figure) => {
          const marks = [...figure.querySelectorAll('svg rect, svg path, svg circle, svg image')]
          const sized = marks.filter((m) => {
            const box = m.getBoundingClientRect()
            return box.width > 1 && box.height > 1
          })
          const svg = figure.querySelector('.plot svg')
          const [own, frame] = [svg, figure.querySelector('.plot')].map((e) => e?.getBoundingClientRect())
          const buttons = [...figure.querySelectorAll('button')].map((b) => b.getAttribute('aria-label'))
          return {
            id: figure.id,
            marks: sized.length,
            fits: own !== undefined && own.right <= frame.right + 1,
            scrolls: figure.querySelector('.plot').scrollWidth > figure.querySelector('.plot').clientWidth,
            buttons,
          }
        }),
    )
    t.true(figures.length >= 12, `${figures.length}`)
    t.is(new Set(figures.map((f) => f.id)).size, figures.length)
    for (const { id, marks, fits, scrolls, buttons } of figures) {
      t.true(marks >= 2, id)
      // Rows of tokens scroll in their frame; nothing else is ever wider than it.
      t.true(fits || (scrolls && /profile|scores/.test(id)), id)
      t.is(buttons.length, 3)
      for (const label of buttons) {
        t.regex(label, /^Download “.+” as (SVG|PNG|CSV)$/)
      }
    }
    const { scroll, inner } = await page.evaluate(() => ({
      scroll: document.documentElement.scrollWidth,
      inner: innerWidth,
    }))
    t.true(scroll <= inner, `${scroll} of ${inner}`)
    t.is(await page.locator('main b, main script').filter({ hasText: 'held out' }).count(), 0)
    const levels = await page
      .locator('h1, h2, h3, h4, h5')
      .evaluateAll((all) => all.map((h) => Number(h.tagName[1])))
    levels.forEach((level, i) => {
      t.true(level <= (levels[i - 1] ?? 0) + 1, 'headings in order')
    })
    t.deepEqual(seen, { errors: [], requests: [] })
  })
}

browserTest('paper is light, and everything is drawn on it', async (t) => {
  const { page, seen } = await open(file, { colorScheme: 'dark', width: 1000 })
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
  const dark = await background()
  await page.locator('.theme').click()
  t.not(await background(), dark)
  await page.emulateMedia({ media: 'print' })
  await settled(page)
  t.is(await background(), 'rgb(255, 255, 255)')
  const drawn = await page.evaluate(() =>
    [...document.querySelectorAll('figure')]
      .filter((f) => f.offsetParent !== null)
      .map((f) => Boolean(f.querySelector('.plot svg'))),
  )
  t.true(drawn.length >= 12)
  t.true(drawn.every(Boolean))
  t.true(
    await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
    'nothing is wider than it',
  )
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('one selection, by mouse, keys and address, is followed by every part', async (t) => {
  const { page, seen } = await open(file)
  const titles = () =>
    page
      .locator('figure .title')
      .allTextContents()
      .then((all) => all.filter((text) => /L\dH\d/.test(text)))
  await showAll(page)
  t.regex(page.url(), /report\.html$/)
  t.regex(await page.locator('.headline').textContent(), /^L3H0 puts/)
  await page.locator('#figure-map-order rect[data-head="L2H0"]').click()
  t.regex(page.url(), /#L2H0\/order$/)
  t.regex(await page.locator('.headline').textContent(), /L2H0/)
  t.true(
    (await titles()).every((text) => text.includes('L2H0')),
    JSON.stringify(await titles()),
  )
  t.regex(
    await page.locator('#tests').textContent(),
    /Edits in L2H0 were not measured.*qkspace intervene .*--heads L2H0 /,
  )
  t.regex(await page.locator('#subspace .lead').textContent(), /^L2H0 for “order”/)
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  t.regex(page.url(), /#L3H0\/order$/)
  t.true((await titles()).every((text) => text.includes('L3H0')))
  t.is(await page.locator('.bar select').last().inputValue(), 'L3H0')
  await select(page, 'L1H0')
  await settled(page)
  t.regex(await page.locator('.headline').textContent(), /^L1H0/)
  t.regex(await page.locator('#scores').textContent(), /No prompt is stored.*L1H0.*qkspace attribute/)
  t.regex(
    await page.locator('#geometry').textContent(),
    /L1H0 was not measured.*qkspace attribute .*--points/,
  )
  await page.locator('.bar select').first().selectOption('lexical')
  t.regex(page.url(), /\/lexical$/)
  await select(page, 'L9H9')
  await settled(page)
  t.regex(
    await page.locator('#subspace .lead').textContent(),
    /for “lexical”/,
    'what is not there changes nothing',
  )
  t.deepEqual(seen, { errors: [], requests: [] })
  const { page: direct } = await open(file, { hash: '#L2H0/lexical' })
  t.regex(await direct.locator('#subspace .lead').textContent(), /^L2H0 for “lexical”/)
  const { page: part } = await open(file, { hash: '#heads' })
  t.true((await part.evaluate(() => scrollY)) > 500, 'a part that the address names')
})

browserTest('tokens tell their attention, edit and score, by mouse and by keys', async (t) => {
  const { page, seen } = await open(file)
  const live = page.locator('#attention .live').first()
  const [prompt] = made.explanation.prompts
  const own = prompt.heads.find(({ head }) => head === 'L3H0')
  const { swap } = own.features.find(({ contrast }) => contrast === 'order')
  const term = prompt.terms.find(({ contrast }) => contrast === 'order')
  const shown = (value) => `${(100 * Number(value.toFixed(4))).toFixed(1)}%`
  const [key] = term.positive
  await page.locator(`#attention [data-token="${key}"]`).first().hover()
  const text = await live.textContent()
  t.true(text.includes(`attention ${shown(own.attention[key])}`), text)
  t.true(text.includes(`after the edit ${shown(swap.after[key])}`), text)
  t.true(text.includes(`null subspaces ${shown(swap.nulls.mean[key])}`), text)
  t.true(text.includes(`score ${own.scores[key].toFixed(2).replace('-', '−')}`), text)
  await page.locator(`#attention [data-token="${key}"]`).first().focus()
  await page.keyboard.press('ArrowRight')
  t.true((await live.textContent()).startsWith(`Token ${key + 1},`))
  await page.keyboard.press('End')
  t.true((await live.textContent()).startsWith(`Token ${prompt.words.length - 1},`))
  t.is(await page.locator('#attention .token.positive').count(), 1 + 1, 'the key, and the legend')
  t.is(await page.locator('#attention .tokens .token.negative').count(), term.negative.length)
  t.is(await page.locator('#attention .tokens .token.query').count(), 1)
  t.regex(await page.locator('#attention .marks').textContent(), /The answer’s box.*Another box/)
  const rows = await csvOf(page, button(page, '[id^="figure-profile-"]', 'csv'))
  t.deepEqual(
    rows.map(({ attention, afterEdit }) => [Number(attention), Number(afterEdit)]),
    own.attention.map((value, i) => [Number(value.toFixed(4)), kept(swap.after[i])]),
  )
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('the whole pattern tells every cell, and shows the row that is chosen', async (t) => {
  const { page, seen } = await open(file)
  await showAll(page)
  const [prompt] = made.explanation.prompts
  const { pattern } = prompt.heads.find(({ head }) => head === 'L3H0')
  const figure = page.locator('[id^="figure-pattern-"]')
  const rows = await csvOf(page, button(page, '[id^="figure-pattern-"]', 'csv'))
  t.is(rows.length, prompt.words.length ** 2)
  for (const { query, key, attention } of rows) {
    t.is(Number(attention), Number((pattern[query][key] ?? 0).toFixed(4)))
  }
  const field = figure.locator('rect.field')
  await field.focus()
  await page.keyboard.press('ArrowUp')
  await page.keyboard.press('ArrowUp')
  const at = prompt.query - 2
  const word = prompt.words[at]
  t.regex(
    await figure.locator('.live').textContent(),
    new RegExp(`^From “\\W*${word.replace(/\W/g, '')}.*\\(${at}\\) to .* \\(0\\): attention`),
  )
  await page.keyboard.press('Enter')
  t.regex(
    await page.locator('[id^="figure-profile-"] .title').textContent(),
    new RegExp(`\\(token ${at}\\)$`),
  )
  const profile = await csvOf(page, button(page, '[id^="figure-profile-"]', 'csv'))
  t.deepEqual(
    profile.map(({ attention }) => Number(attention)),
    prompt.words.map((_, k) => Number((pattern[at][k] ?? 0).toFixed(4))),
  )
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('scores are stacked parts: positive ones above zero, negative ones below', async (t) => {
  const { page, seen } = await open(file)
  await showAll(page)
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
  const row = made.attribution.examples[0].rows.find(({ head }) => head === 'L3H0')
  const rows = await csvOf(page, button(page, '[id^="figure-scores-"]', 'csv'))
  t.deepEqual(
    rows.map((r) => [Number(r.total), Number(r.order)]),
    row.total.map((total, i) => [kept(total), kept(row.parts.order[i])]),
  )
  await page.locator('[id^="figure-scores-"] g.hits rect').nth(5).hover()
  t.regex(await page.locator('#scores .live').textContent(), /^Token 5/, 'a bar tells what its token tells')
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('numbers of the page are those of the documents behind it', async (t) => {
  const { page, seen } = await open(file)
  await showAll(page)
  const map = await csvOf(page, button(page, '#figure-map-order', 'csv'))
  t.is(map.length, made.result.headNames.length)
  for (const { head, scoreGap, rank, attention, p, q, discovered, replicated } of map) {
    const found = made.result.head(head).contrast('order')
    t.deepEqual(
      [Number(scoreGap), Number(rank), Number(attention), Number(p), Number(q)],
      [
        kept(found.scoreGap),
        found.rank,
        kept(found.attention.positive),
        kept(found.test.p[found.test.hypothesis]),
        kept(found.test.q),
      ],
    )
    t.is(discovered, `${found.test.discovered}`)
    t.is(replicated, `${found.test.replication?.replicated ?? false}`)
  }
  const packed = documentOf(readFileSync(file, 'utf8'))
  const { heads } = packed.results[0]
  const same = (own, behind, where) => {
    if (typeof behind === 'number') {
      t.is(own, Number.isInteger(behind) ? behind : kept(behind), where)
    } else if (typeof behind === 'object' && behind !== null) {
      for (const [key, value] of Object.entries(behind)) {
        same(own[key], value, `${where}.${key}`)
      }
    } else {
      t.is(own, behind, where)
    }
  }
  same(heads, JSON.parse(JSON.stringify(made.result.info.heads)), 'heads')
  same(packed.interventions[0], JSON.parse(JSON.stringify(made.interventions)), 'interventions')
  same(packed.attributions[0], JSON.parse(JSON.stringify(made.attribution)), 'attributions')
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('every bar stands beside its null subspaces, and what they reach is marked', async (t) => {
  const { page, seen } = await open(file)
  await showAll(page)
  const rowsOf = async (figure) => {
    const rows = await csvOf(page, button(page, figure, 'csv'))
    const bands = await page.locator(`${figure} g.null-band rect`).count()
    const marks = await page.locator(`${figure} svg text`, { hasText: 'within null' }).count()
    t.is(bands, rows.length)
    t.is(marks, rows.filter((r) => r.within === 'true').length)
    t.regex(await page.locator(`${figure} .legend`).textContent(), /null subspaces.*key.*mean query.*Haar/)
    return rows
  }
  const explained = await rowsOf('[id^="figure-explained-"]')
  const { order } = made.attribution.heads.L3H0.contrasts
  const own = explained.find((r) => r.by === 'order')
  t.is(Number(own.mean), kept(order.own.energy.mean))
  t.is(Number(own.nullTop), kept(order.own.controls.nulls.p95))
  t.is(Number(own.keys), kept(order.own.controls.keys))
  t.is(Number(own.meanQuery), kept(order.own.controls.meanQuery))
  t.is(Number(own.random), kept(order.own.controls.random.mean))
  const moves = await rowsOf('[id^="figure-effects-"]')
  t.deepEqual(
    moves.map((r) => r.edited),
    ['order', 'lexical'],
    'one row a feature',
  )
  const effects = await rowsOf('[id^="figure-flipRate-"]')
  const of = (kind) =>
    made.interventions.variants.find((v) => v.kind === kind && ['order', ''].includes(v.features.join()))
  const flips = effects.find((r) => r.edited === 'order' && r.measure === 'flipped')
  t.is(Number(flips.nullMean), kept(of('null').heads.L3H0.flipRate.mean))
  t.is(Number(flips.nullTop), kept(of('null').heads.L3H0.p95.flipRate))
  t.is(Number(flips.whole), kept(of('whole').heads.L3H0.flipRate.mean))
  await rowsOf('[id^="figure-kl-"]')
  const opening = await csvOf(page, button(page, '[id^="figure-evidence-"]', 'csv'))
  t.is(Number(opening[0].mean), kept(of('features').heads.L3H0.moved.mean))
  t.is(Number(opening[1].mean), kept(of('null').heads.L3H0.moved.mean))
  t.deepEqual(seen, { errors: [], requests: [] })
  const { page: old } = await open(withoutNulls)
  await showAll(old)
  t.regex(await old.locator('#tests').textContent(), /No null: the result was made without null subspaces/)
  t.true((await old.locator('#tests svg text', { hasText: 'no null' }).count()) > 0)
})

browserTest('singular values stand beside the null of each component that was tested', async (t) => {
  const { page, seen } = await open(file)
  await showAll(page)
  const { rank, spectrum, test: own } = made.result.head('L3H0').contrast('order')
  const bars = await page
    .locator('#figure-singular-values g[aria-label="bar"] rect')
    .evaluateAll((all) =>
      all.map((r) => ({ fill: r.getAttribute('fill'), right: r.getBoundingClientRect().right })),
    )
  t.is(bars.length, spectrum.length)
  t.is(new Set(bars.slice(0, rank).map((b) => b.fill)).size, 1)
  t.is(new Set(bars.slice(rank).map((b) => b.fill)).size, 1)
  t.not(bars[0].fill, bars[rank].fill)
  const rows = await csvOf(page, button(page, '#figure-singular-values', 'csv'))
  t.deepEqual(
    rows.map((r) => r.kept),
    Array.from(spectrum, (_, i) => `${i < rank}`),
  )
  t.true(rows.every((r, i) => Math.abs(r.singularValue - spectrum[i]) <= 1e-4 * spectrum[0]))
  t.true(own.componentNull.length > 1)
  own.componentNull.forEach(({ mean, p95 }, i) => {
    t.deepEqual([Number(rows[i].nullMean), Number(rows[i].nullTop)], [kept(mean), kept(p95)])
  })
  t.is(await page.locator('#figure-singular-values g.null-band rect').count(), own.componentNull.length)
  t.regex(await page.locator('#subspace .lead').textContent(), new RegExp(`rank ${rank} of 32 dimensions`))
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('each component says its tokens beside those of a null direction', async (t) => {
  const { page, seen } = await open(file)
  const { components } = made.attribution
  const [first] = components.order.key.L3H0
  const card = page.locator('#tokens .component').first()
  const items = await card
    .locator('.sides > div')
    .first()
    .locator('.extremes')
    .first()
    .locator('li')
    .allTextContents()
  t.is(items.length, first.top.length)
  items.forEach((text, i) => {
    t.true(text.includes(first.top[i].token.trim()), text)
    t.true(text.startsWith(`+${first.top[i].value.toFixed(1)}`), text)
  })
  t.is(await card.locator('.null-direction').count(), 2)
  t.is(await page.locator('#tokens .component').count(), components.order.key.L3H0.length)
  t.regex(await page.locator('#tokens').textContent(), /W_Q and W_K of layer 3/)
  t.true((await card.locator('.reads .chip').count()) > 0)
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest(
  'points lie in planes of four axes, by colour and symbol, with centroids and their tokens',
  async (t) => {
    const { page, seen } = await open(file)
    await showAll(page)
    const figure = '#figure-key-points-1'
    t.regex(await page.locator(`${figure} .title`).textContent(), /Keys in V of L3H0, order/)
    const legend = await page.locator(`${figure} .legend span`).allTextContents()
    t.deepEqual(legend, ['1st', '2nd', '3rd', '4th', '5th', 'positive', 'negative', 'centroid'])
    const shapes = await page
      .locator(`${figure} .legend i`)
      .evaluateAll((all) => all.slice(0, 5).map((i) => i.className))
    t.is(new Set(shapes).size, 5, 'labels are told apart without colour')
    const { labels, roles, heads, tokens } = made.attribution.points.order.key
    const { shares, coordinates, separation } = heads.L3H0
    t.is(shares.length, 4)
    const rows = await csvOf(page, button(page, figure, 'csv'))
    t.deepEqual(
      rows.map(({ label, role, position, pc1, pc4 }) => [
        label,
        role,
        Number(position),
        Number(pc1),
        Number(pc4),
      ]),
      labels.map((label, i) => [
        label,
        roles[i],
        tokens[i].position,
        coordinates[4 * i],
        coordinates[4 * i + 3],
      ]),
    )
    t.is(await page.locator(`${figure} g.centroids path`).count(), 2 * 5)
    const caption = await page.locator(`${figure} figcaption p`).textContent()
    t.true(caption.includes(`Labels account for ${(100 * separation.value).toFixed(0)}%`), caption)
    t.true(caption.includes(`95th percentile ${(100 * separation.nulls.p95).toFixed(0)}%`), caption)
    t.deepEqual(seen, { errors: [], requests: [] })
  },
)

browserTest('saved drawings are well-formed SVG and PNG, whatever labels hold', async (t) => {
  const odd = path.join(folder, 'odd.html')
  const [first, ...others] = made.explanation.prompts
  const words = first.words.map((word, i) => (i % 5 === 0 ? `\u0000\u0007${word}\ud800\uffff<&"` : word))
  await writeReport(odd, {
    results: [{ name: '\u0001.safetensors', value: made.result }],
    attributions: [{ name: 'a', value: made.attribution }],
    interventions: [{ name: 'i', value: made.interventions }],
    explanations: [{ name: 'e', value: { ...made.explanation, prompts: [{ ...first, words }, ...others] } }],
  })
  const { page, seen } = await open(odd)
  await showAll(page)
  const ids = await page
    .locator('figure')
    .evaluateAll((all) => all.filter((f) => f.offsetParent && f.querySelector('.plot svg')).map((f) => f.id))
  t.true(ids.length >= 10)
  // The browser drops what is saved too often in a row: what would be saved is read on its way.
  await page.evaluate(() => {
    const make = URL.createObjectURL
    URL.createObjectURL = (blob) => {
      globalThis.lastBlob = blob
      return make.call(URL, blob)
    }
  })
  for (const id of ids) {
    await button(page, `#${id}`, 'svg').click()
    const parsed = await page.evaluate(async () => {
      const text = await globalThis.lastBlob.text()
      const { documentElement: root } = new DOMParser().parseFromString(text, 'image/svg+xml')
      return { name: root.nodeName, error: root.querySelector('parsererror')?.textContent }
    })
    t.deepEqual(parsed, { name: 'svg', error: undefined }, id)
  }
  // Those that write the prompt's words.
  for (const id of ids.filter((own) => /profile|pattern|scores|prompt/.test(own))) {
    await page.evaluate(() => {
      globalThis.lastBlob = undefined
    })
    await button(page, `#${id}`, 'png').click()
    await page.waitForFunction(() => globalThis.lastBlob)
    const start = await page.evaluate(async () => await globalThis.lastBlob.slice(1, 4).text())
    t.is(start, 'PNG', id)
  }
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('what is absent is said, with the command that measures it', async (t) => {
  const { page, seen } = await open(bare)
  t.regex(await page.locator('#attention').textContent(), /No attention is stored.*qkspace explain/)
  t.regex(await page.locator('#tests').textContent(), /were not measured.*qkspace intervene/)
  t.regex(await page.locator('#tokens').textContent(), /was not measured.*qkspace attribute/)
  t.regex(await page.locator('#geometry').textContent(), /was not measured.*qkspace attribute .*--points/)
  t.regex(await page.locator('#scores').textContent(), /No prompt is stored.*qkspace attribute .*--examples/)
  t.deepEqual(seen, { errors: [], requests: [] })
})

browserTest('another result is chosen by its name, and has an address of its own', async (t) => {
  const several = path.join(folder, 'several.html')
  const { result: other } = await untestedParts()
  await writeReport(several, {
    results: [
      { name: 'boxes', value: made.result },
      { name: 'other', value: other },
    ],
  })
  const { page, seen } = await open(several)
  await page.locator('.bar select').first().selectOption({ label: 'other' })
  t.regex(page.url(), /#2\/L3H0\/order$/)
  t.is(await page.locator('.badge').textContent(), 'Not tested')
  await page.locator('.bar select').first().selectOption({ label: 'boxes' })
  t.is(await page.locator('.badge').textContent(), 'Significant, replicated')
  t.deepEqual(seen, { errors: [], requests: [] })
})
