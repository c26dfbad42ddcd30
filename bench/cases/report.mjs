/** The time that a report takes to open: from navigation until every figure has its marks, in a browser. */

import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { bundledFile } from '../../dist/bundled/files.js'
import { accumulate, attribute, decompose, disposeSums, openModel, writeReport } from '../../dist/index.js'
import { seededRandom } from '../../dist/math/random.js'
import { Result } from '../../dist/store/result.js'

const CHROMIUM = '/usr/bin/chromium'
const HEADS = 40
const TOKENS = 64
const LABELS = ['a', 'b', 'c', 'd', 'e']

export default {
  title: 'report: from navigation until every figure is drawn (bar: 3 s)',
  variants: () => [
    { label: `${HEADS} heads, prompts of ${TOKENS} tokens, points and spectra included`, params: {} },
  ],
  subjects: () => ['chromium'],
  load: async () => ({ measure: open }),
}

async function open() {
  if (!existsSync(CHROMIUM)) {
    return { missing: `needs ${CHROMIUM}` }
  }
  const { chromium } = await import('playwright-core')
  const folder = mkdtempSync(path.join(tmpdir(), 'qkspace-report-'))
  const file = path.join(folder, 'report.html')
  let browser
  try {
    const bytes = await writeReport(file, await parts())
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] })
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } })
    await page.goto(pathToFileURL(file).href, { waitUntil: 'commit' })
    const drawn = await page.waitForFunction(drawnAfter)
    const { ms, figures } = await drawn.jsonValue()
    // Two contrasts, each with a bar of its own feature and one of both.
    const [bars, tokens] = [
      await page.locator('[id^="figure-explained"] g[aria-label="bar"] rect').count(),
      await page.locator('[data-token]').count(),
    ]
    if (bars !== 4 * HEADS || tokens !== TOKENS) {
      throw new Error(`the page shows ${bars} bars, ${tokens} tokens`)
    }
    return { value: ms / 1000, unit: 's', note: `${figures} figures, ${(bytes / 2 ** 20).toFixed(1)} MiB` }
  } finally {
    await browser?.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** In the page, every frame: milliseconds since navigation, once the last figure has marks. */
function drawnAfter() {
  const figures = [...document.querySelectorAll('figure')]
  if (document.readyState !== 'complete' || figures.length === 0) {
    return false
  }
  if (!figures.every((figure) => figure.querySelector('svg :is(rect, path, circle)'))) {
    return false
  }
  return { ms: performance.now(), figures: figures.length }
}

/** From the bundled transformer, which has fewer heads: they are there again under further names. */
async function parts() {
  const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
  const sums = await accumulate(model, prompts(200, 1))
  const found = await decompose(sums, { spectrum: true, rank: { rule: 'fixed', rank: 4 }, nulls: 20 })
  disposeSums(sums)
  const explained = await attribute(model, prompts(64, 2), { result: found })
  const own = found.headNames
  const names = Array.from({ length: HEADS }, (_, i) => [
    `L${Math.floor(i / 8)}H${i % 8}`,
    own[i % own.length],
  ])
  const again = (of) => Object.fromEntries(names.map(([name, from]) => [name, of[from]]))
  const subspaces = new Map(names.map(([name, from]) => [name, contrastsOf(found.head(from))]))
  const clouds = Object.entries(explained.points).map(([feature, { query, key }]) => [
    feature,
    { query: { ...query, heads: again(query.heads) }, key: { ...key, heads: again(key.heads) } },
  ])
  const rowsOf = (rows) =>
    names.map(([name, from]) => ({ ...rows.find(({ head }) => head === from), head: name }))
  const attribution = {
    ...explained,
    heads: again(explained.heads),
    points: Object.fromEntries(clouds),
    examples: explained.examples.map((example) => ({ ...example, rows: rowsOf(example.rows) })),
  }
  return {
    results: [
      { name: 'result', value: new Result({ ...found.info, heads: again(found.info.heads) }, subspaces) },
    ],
    attributions: [{ name: 'prompts', value: attribution }],
  }
}

const contrastsOf = (head) => new Map(head.contrastNames.map((name) => [name, head.contrast(name)]))

/** Random tokens that the tokenizer knows, of two contrasts. */
function prompts(count, seed) {
  const random = seededRandom(seed)
  return Array.from({ length: count }, (_, i) => {
    const label = LABELS[i % LABELS.length]
    return {
      contrast: i % 2 === 0 ? 'even' : 'odd',
      tokens: Array.from({ length: TOKENS }, () => 3 + random.below(100)),
      terms: [
        { query: -1, positive: [i % 20], negative: [20 + (i % 20), 40], label, negativeLabels: ['f', 'g'] },
      ],
    }
  })
}
