/** The paper's figures in small: the claims hold with margin, and the files say what the document says. */

import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { principalComponents, principalCosines } from '../dist/attribution/geometry.js'
import { nullFigures } from '../dist/math/null-limit.js'
import { centroids, cornerFit, separation } from '../dist/paper/clusters.js'
import { FIGURE_NUMBERS, runPaper } from '../dist/paper/index.js'
import { exchangeLabels } from '../dist/paper/random-labels.js'
import { VERDICTS, verdictOf } from '../dist/paper/verdict.js'
import { csvText, writePaper } from '../dist/paper/write.js'
import { readPaper } from '../dist/report/read-documents.js'
import { retrievalPrompts } from '../dist/toy/retrieval.js'
import { ToyTask } from '../dist/toy/task.js'
import { runCommand } from './helpers/command.js'
import { cli, temporaryFolder } from './helpers/files.js'

const folder = temporaryFolder(test)
const qkspace = (...args) => runCommand(folder, args)
const fresh = () => mkdtempSync(path.join(folder, 'paper-'))
const SIZES = {
  toyPrompts: 600,
  clusters: 240,
  retrieval: 160,
  categories: 320,
  boxes: 200,
  heldOut: 80,
  randoms: 2,
}

/** RFC 4180. */
function parseCsv(text) {
  const rows = [[]]
  const cell = /("(?:[^"]|"")*"|[^,\n]*)([,\n])/y
  for (let found = cell.exec(text); found; found = cell.exec(text)) {
    const [, raw, end] = found
    rows.at(-1).push(raw.startsWith('"') ? raw.slice(1, -1).replaceAll('""', '"') : raw)
    if (end === '\n') {
      rows.push([])
    }
  }
  return rows.slice(0, -1)
}

/** What a CSV cell is, of the type of the document's cell. */
function typed(text, like) {
  if (like === null) {
    return text === '' ? null : text
  }
  if (typeof like === 'number') {
    return Number(text)
  }
  return typeof like === 'boolean' ? text === 'true' : text
}

let report
test.before('all experiments, small', async (t) => {
  const seen = []
  report = await runPaper({ quick: true, sizes: SIZES, onProgress: (p) => seen.push(p) })
  t.deepEqual(
    seen.map(({ figure }) => figure),
    ['2', '3', '4', '5', '6-7', '8-9', '10', ''],
  )
  t.like(seen.at(-1), { done: 7, total: 7 })
})

const figure = (name) => report.figures.find((f) => f.figure === name)
const records = (name, table) => {
  const { columns, rows } = figure(name).tables.find((x) => x.name === table)
  return rows.map((row) => Object.fromEntries(columns.map((column, c) => [column, row[c]])))
}

test('every experiment is plain data: claim, verdict, tables of full rows', (t) => {
  t.deepEqual(
    report.figures.map((f) => f.figure),
    ['2', '3', '4', '5', '6-7', '8-9', '10'],
  )
  t.deepEqual(FIGURE_NUMBERS, [2, 3, 4, 5, 6, 7, 8, 9, 10])
  t.deepEqual(JSON.parse(JSON.stringify(report)), report, 'no NaN, no undefined, no typed arrays')
  for (const { figure: name, title, claim, why, tables, ...own } of report.figures) {
    t.deepEqual(
      [title, claim, why].map((text) => typeof text),
      ['string', 'string', 'string'],
    )
    for (const judged of [{ claim, why, ...own }, ...(own.further ?? [])]) {
      t.true(VERDICTS.includes(judged.verdict), judged.claim)
      t.true(judged.decisive.length > 0)
      for (const { value, nulls } of judged.decisive) {
        t.true(nulls.count >= 20, judged.claim)
        t.true(Number.isFinite(value) && Number.isFinite(nulls.mean) && nulls.p95 >= nulls.mean - 0.5)
        t.true(judged.why.includes(`${(100 * nulls.p95).toFixed(1)}%`), 'the null is in the sentence')
      }
    }
    t.true(tables.length > 0)
    for (const { name: table, columns, rows } of tables) {
      t.true(rows.length > 0, `${name} ${table}`)
      t.true(
        rows.every((row) => row.length === columns.length),
        `${name} ${table}`,
      )
      t.is(new Set(columns).size, columns.length)
    }
  }
})

test('a claim is held where its figures are above their nulls, and only there', (t) => {
  const nulls = { count: 20, mean: 0.5, p95: 0.7 }
  const plain = { name: 'share', bar: 'above 0.6', against: 'null subspaces' }
  const one = (value, met = true) => ({ ...plain, value, met, nulls })
  t.is(verdictOf([one(0.8), one(0.71)]), 'held')
  t.is(verdictOf([one(0.8), one(0.7)]), 'held, and random labels do as well')
  t.is(verdictOf([one(0.8, false)]), 'not held')
  t.is(verdictOf([one(0.8)], [{ text: 'a condition', bar: 'met', met: false }]), 'not held')
  t.is(verdictOf([one(0.8), { ...one(1), nulls: null }]), 'not held', 'no null decides nothing')
  const { mean, p95, count } = nullFigures(Array.from({ length: 99 }, (_, i) => i + 1))
  t.deepEqual([mean, p95, count], [50, 95, 99])
})

test('every figure that could be claimed has null subspaces and other controls beside it', (t) => {
  /** @type {[string, string, number, string[]][]} */
  const tables = [
    ['3', 'clusters', 12, []],
    ['4', 'effects', 14, []],
    ['6-7', 'separation', 2, ['whole keys']],
    ['6-7', 'effects', 12, []],
    ['8-9', 'places', 12, ['whole keys']],
    ['8-9', 'effects', 36, []],
    ['10', 'explained', 18, []],
  ]
  for (const [name, table, least, without] of tables) {
    const rows = records(name, table).filter((row) => !without.includes(row.subspace))
    t.true(rows.length >= least, `${name} ${table}: ${rows.length}`)
    for (const row of rows) {
      const where = `${name} ${table} ${JSON.stringify(row)}`
      t.is(row['null draws'], 20, where)
      t.true(Number.isFinite(row['null mean']) && Number.isFinite(row['null p95']), where)
      t.is(row['above null'], row.value > row['null p95'], where)
      if (table === 'explained' && row.figure !== 'energy') {
        continue
      }
      for (const control of ['key components', 'mean query', 'random']) {
        t.true(Number.isFinite(row[control]), where)
      }
    }
  }
})

test('figure 2: energy ranks are exact where the latents fit, also for random labels; those of the test are 0 there', (t) => {
  const rows = records('2', 'ranks')
  t.is(rows.length, 16)
  const fitting = rows.filter(({ fits }) => fits)
  for (const row of fitting) {
    t.is(row.rank, row['true rank'], row.model)
  }
  t.true(rows.some(({ fits, recovered }) => !fits && !recovered))
  const draws = fitting.reduce((sum, row) => sum + row['null draws'], 0)
  const same = fitting.reduce((sum, row) => sum + row['null draws of that rank'], 0)
  t.is(draws, 20 * fitting.length)
  t.true(same > 0.8 * draws, `the energy rule answers the same for ${same} of ${draws} random labels`)
  t.true(fitting.filter((row) => row['permutation recovered']).length >= 0.8 * fitting.length)
  const exchanged = rows.flatMap((row) => row['permutation rank, exchanged labels'].split(' ').map(Number))
  t.is(exchanged.length, 32)
  t.true(exchanged.filter((rank) => rank === 0).length >= 28)
  const { verdict, further } = figure('2')
  t.is(verdict, 'held, and random labels do as well')
  t.is(further.length, 1)
})

test('figure 3: every held-out row is nearest to its own corner', (t) => {
  const rows = records('3', 'clusters')
  t.is(rows.length, 12)
  const least = { 'nearest corner right': 0.98, 'between / total': 0.85, 'additive in the signs': 0.98 }
  for (const row of rows) {
    t.is(row.corners, 8)
    t.true(row.value > least[row.measure], row.measure)
  }
  t.is(figure('3').verdict, 'held, and random labels do as well', 'keys differ in nothing but the latent')
})

test('figure 4: the swap in both subspaces moves all, either a part, random ones less, null ones as much', (t) => {
  const rows = records('4', 'swaps')
  const moved = (edited) => rows.find((row) => row.edited === edited).moved
  t.true(moved('z1 + z2') > 0.95)
  for (const one of ['z1', 'z2']) {
    t.true(moved(one) > 0.2 && moved(one) < 0.5)
    t.true(moved(`random, rank of ${one}`) < moved(one))
  }
  t.true(moved('random, rank of z1 + z2') < 0.8)
  t.true(Math.abs(moved('all but z1 + z2')) < 0.01)
  const both = rows.find((row) => row.edited === 'z1 + z2')
  t.is(both['answer likeliest before'], 1)
  t.true(both['answer likeliest after'] < 0.3)
  const effects = records('4', 'effects')
  for (const { edited, value, ...row } of effects.filter(({ effect }) => effect === 'moved')) {
    t.is(value, moved(edited))
    t.is(row['null mean'], moved(`null subspaces of ${edited}`))
    t.is(row.random, moved(`random, rank of ${edited}`))
  }
  t.true(moved('null subspaces of z1 + z2') > 0.95)
  t.is(figure('4').verdict, 'held, and random labels do as well')
})

test('figure 5: latents interact within their blocks, and not in another order', (t) => {
  for (const row of records('5', 'blocks')) {
    if (row.fits) {
      t.true(row['within blocks'] > 0.97)
    } else {
      t.true(row['within blocks'] < 0.95)
    }
    // Of 3 + 3 latents, one order in twenty keeps both blocks.
    t.true(row.p <= (row.r1 + row.r2 === 6 ? 0.08 : 0.05), `${row.model} ${row.p}`)
    t.true(Math.abs(row['permuted mean'] - row['evenly spread']) < 0.1)
  }
  t.is(records('5', 'interaction').length, 2 * (6 ** 2 + 8 ** 2 + 2 * 10 ** 2))
  t.is(figure('5').verdict, 'held')
})

test('figures 6 and 7: categories of words held out separate, and carry the attention', (t) => {
  const [between, nearest, , whole] = records('6-7', 'separation')
  t.is(nearest.measure, 'nearest centroid right')
  t.true(nearest.value > 0.95)
  t.true(between.value > between.random)
  t.is(whole.rank, 32)
  const both = records('6-7', 'effects').find(
    (row) => row.edited.includes('fruit + ') && row.effect === 'flipped',
  )
  t.true(both.value > 0.9)
  t.true(both.random < 0.3)
  t.true(both['null mean'] > 0.7, 'null subspaces flip nearly as much')
  t.not(figure('6-7').verdict, 'held')
})

test('figures 8 and 9: order and lexical each move attention partly, together most', (t) => {
  const rows = records('8-9', 'effects').filter(({ centred, effect }) => !centred && effect === 'flipped')
  const flipped = (edited) => rows.find((row) => row.edited === edited)
  t.true(flipped('order + lexical').value > 0.7)
  t.true(flipped('order').value < 0.6 && flipped('lexical').value < 0.6)
  t.true(flipped('order + lexical').random < 0.25)
  t.true(flipped('order + lexical')['null mean'] > 0.5)
  t.is(records('8-9', 'heads')[0].head, 'L3H0')
  const place = records('8-9', 'places').find(
    (row) => row.subspace === 'order' && row.centred && row.measure === 'between / total',
  )
  t.true(place.value > 0.8)
  t.true(place['null mean'] < place.value)
})

test('figure 10: parts add up to the scores, and explain most of their energy; so do those of the boxes', (t) => {
  for (const row of [...records('10', 'scores'), ...records('10', 'candidates')]) {
    t.true(Math.abs(row.order + row.lexical + row.residual - row.total) < 1e-4)
  }
  const explained = records('10', 'explained').filter(({ figure: one }) => one === 'energy')
  const named = explained[0]
  t.like(named, { covariances: 'plain', rows: 'all keys' })
  t.true(named.value > 0.85)
  t.true(named.low <= named.value && named.value <= named.high)
  t.true(named.random < named['null mean'])
  for (const covariances of ['plain', 'centred']) {
    const boxes = records('10', 'candidates').filter((row) => row.covariances === covariances)
    t.is(boxes.length, 5)
    t.is(boxes.filter(({ role }) => role === 'answer').length, 1)
    t.true(boxes.every(({ token }) => /^[A-Z]$/.test(token.trim())))
    // Less their mean: rows of scores sum to nothing.
    t.true(Math.abs(boxes.reduce((sum, { total }) => sum + total, 0)) < 1e-4)
    t.true(boxes.every((row) => Number.isFinite(row['order, null mean'])))
  }
  const rows = 'candidate boxes, less their mean'
  t.true(explained.find((row) => row.covariances === 'centred' && row.rows === rows).value > 0.9)
  t.is(figure('10').further.length, 2)
})

test('the loss that taught heads where to look is said beside the figures about them', (t) => {
  for (const name of ['6-7', '8-9', '10']) {
    t.regex(figure(name).notes.join(' '), /auxiliary loss/)
  }
  for (const name of ['2', '3', '4', '5']) {
    t.is(figure(name).notes, undefined)
  }
})

test('with random labels nothing about the transformer is held', async (t) => {
  const options = { quick: true, sizes: SIZES, randomLabels: true }
  const { figures, randomLabels } = await runPaper({ ...options, only: [8, 9, 10] })
  t.true(randomLabels)
  t.deepEqual(
    figures.map((f) => f.figure),
    ['8-9', '10'],
  )
  for (const { further, ...own } of figures) {
    for (const { claim, verdict, why } of [own, ...further]) {
      t.not(verdict, 'held', `${claim} ${why}`)
    }
  }
})

test('exchanging labels swaps whole halves of prompts, by the seed', (t) => {
  const terms = [{ query: 0, positive: [1], negative: [2, 3], label: 'a', negativeLabels: ['b', 'c'] }]
  const plain = { id: 'p', contrast: 'x', tokens: [1, 2, 3, 4], terms }
  const counterfactual = {
    id: 'c',
    text: 'this',
    contrasts: { x: { terms: [{ query: -1, positive: [1] }] } },
    counterfactual: { text: 'that', contrasts: { x: { terms: [{ query: -1, negative: [2] }] } } },
  }
  const prompts = Array.from({ length: 400 }, (_, i) => (i % 2 ? plain : counterfactual))
  const exchanged = exchangeLabels(prompts, 7)
  t.deepEqual(exchanged, exchangeLabels(prompts, 7))
  const changed = exchanged.filter((own, i) => own !== prompts[i])
  t.true(changed.length > 150 && changed.length < 250)
  t.deepEqual(
    changed.find(({ id }) => id === 'p'),
    { ...plain, terms: [{ query: 0, positive: [2, 3], negative: [1] }] },
  )
  t.deepEqual(
    changed.find(({ id }) => id === 'c'),
    {
      id: 'c',
      text: 'that',
      contrasts: { x: { terms: [{ query: -1, positive: [2] }] } },
      counterfactual: { text: 'this', contrasts: { x: { terms: [{ query: -1, negative: [1] }] } } },
    },
  )
})

test('a document of before there were verdicts is refused, and says what to do', async (t) => {
  const file = path.join(fresh(), 'paper.json')
  const figures = report.figures.map(({ verdict: _, decisive: __, ...own }) => ({ ...own, held: true }))
  writeFileSync(file, JSON.stringify({ ...report, figures }))
  /** @type {import('../dist/index.js').QkError} */
  const error = await t.throwsAsync(readPaper(file), { code: 'ERR_FORMAT' })
  t.regex(error.message, /written by an earlier version/)
  t.regex(error.hint, /qkspace paper/)
  writeFileSync(file, JSON.stringify(report))
  t.deepEqual(await readPaper(file), report)
})

test('CSV reads back equal to the document', async (t) => {
  const out = fresh()
  const files = await writePaper(out, report)
  t.deepEqual(readdirSync(out).sort(), files.map((file) => path.basename(file)).sort())
  const others = fresh()
  for (const file of files.slice(1)) {
    writeFileSync(path.join(others, path.basename(file)), 'of an earlier run')
  }
  await writePaper(others, { ...report, figures: [] })
  t.deepEqual(readdirSync(others), ['paper.json'], 'every table is known as one of ours')
  const saved = JSON.parse(readFileSync(path.join(out, 'paper.json'), 'utf8'))
  t.deepEqual(saved, report)
  for (const { figure: name, tables } of saved.figures) {
    for (const { name: table, columns, rows } of tables) {
      const [header, ...lines] = parseCsv(readFileSync(path.join(out, `figure-${name}-${table}.csv`), 'utf8'))
      t.deepEqual(header, columns)
      t.deepEqual(
        lines.map((line, r) => line.map((cell, c) => typed(cell, rows[r][c]))),
        rows,
      )
    }
  }
})

test('CSV quotes commas, quotes and line ends; null is empty', (t) => {
  const rows = [['a,b', 'say "x"', 'two\nlines', null, 0.1, true]]
  const text = csvText({ name: 'x', columns: ['1', '2', '3', '4', '5', '6'], rows })
  t.deepEqual(parseCsv(text)[1], ['a,b', 'say "x"', 'two\nlines', '', '0.1', 'true'])
})

test('only chooses experiments; the same seed gives the same report', async (t) => {
  const options = { quick: true, sizes: SIZES, only: [3, 5], seed: 4294967295 }
  const [first, second] = [await runPaper(options), await runPaper(options)]
  t.deepEqual(
    first.figures.map((f) => f.figure),
    ['3', '5'],
  )
  t.deepEqual(first, second)
})

test('aborting rejects, wherever it comes', async (t) => {
  await t.throwsAsync(runPaper({ quick: true, signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
  const controller = new AbortController()
  const running = runPaper({
    quick: true,
    sizes: SIZES,
    only: [8],
    signal: controller.signal,
    onProgress: () => setTimeout(() => controller.abort(), 100),
  })
  await t.throwsAsync(running, { code: 'ERR_ABORTED' })
})

test('the command writes a document and a CSV a table, and prints one document', async (t) => {
  const out = path.join(fresh(), 'deep', 'paper')
  const { status, stdout, stderr } = await qkspace(
    'paper',
    '--quick',
    '--only',
    '5,3',
    '--out',
    out,
    '--json',
  )
  t.is(stderr, '')
  t.is(status, 0)
  const printed = JSON.parse(stdout)
  t.deepEqual(
    printed.figures.map((f) => [f.figure, f.verdict, f.decisive.length]),
    [
      ['3', 'held, and random labels do as well', 3],
      ['5', 'held', 1],
    ],
  )
  t.deepEqual(readdirSync(out).sort(), [
    'figure-3-clusters.csv',
    'figure-3-points.csv',
    'figure-5-blocks.csv',
    'figure-5-interaction.csv',
    'paper.json',
    'report.html',
  ])
  writeFileSync(path.join(out, 'figure-of-mine.csv'), 'a')
  const table = await qkspace('paper', '--quick', '--only', '5', '--out', out)
  t.regex(table.stdout, /figure +verdict +decided by +null, 95th percentile +key components +claim\n/)
  t.regex(table.stdout, /saved .*paper\.json, and 2 tables/)
  // Tables of a figure that is not in this run would pass for its own; files of others are let be.
  t.deepEqual(readdirSync(out).sort(), [
    'figure-5-blocks.csv',
    'figure-5-interaction.csv',
    'figure-of-mine.csv',
    'paper.json',
    'report.html',
  ])
})

test('wrong usage is status 2, and a file in the way is refused before any work', async (t) => {
  for (const args of [['--only', '1'], ['--only', '2,x'], ['--only', ''], ['--seed', '-1'], ['--what']]) {
    const { status, stdout } = await qkspace('paper', ...args)
    t.is(status, 2, args.join(' '))
    t.is(stdout, '')
  }
  const out = fresh()
  writeFileSync(path.join(out, 'paper.json'), 'my notes')
  const { status, stderr } = await qkspace('paper', '--quick', '--only', '5', '--out', out)
  t.is(status, 1)
  t.regex(stderr, /it exists, and is not a paper document/)
  t.deepEqual(readdirSync(out), ['paper.json'])
})

test('a stopped command leaves no file', async (t) => {
  const out = path.join(fresh(), 'out')
  const child = spawn(process.execPath, [cli, 'paper', '--quick', '--out', out], { stdio: 'ignore' })
  const closed = new Promise((resolve) => child.on('close', (_, signal) => resolve(signal)))
  // The folder is there once work has begun.
  while (!existsSync(out) && child.exitCode === null) {
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  child.kill('SIGINT')
  t.is(await closed, 'SIGINT')
  t.deepEqual(readdirSync(out), [])
})

test('retrieval prompts: the positive token matches in both latents, the negative ones in neither', (t) => {
  /** @type {import('../dist/index.js').ToyConfig} */
  const config = { task: 1, r1: 1, r2: 2, dHead: 8, dModel: 12, context: 6, payloads: 3, noise: 0, seed: 3 }
  const task = new ToyTask(config)
  const { prompts, latents } = retrievalPrompts(task, 60, 5)
  t.is(prompts.length, 60)
  const { a1, a2, payload } = task.encoders
  prompts.forEach((/** @type {any} */ { terms: [term], inputs, answer }, i) => {
    const part = (token, own) =>
      Array.from({ length: 12 }, (_, c) => {
        const [x, y, z] = own
        return inputs.context.data[token * 12 + c] - x * a1[c] - y * a2[c] - z * a2[12 + c]
      })
    const payloadOf = (token, own) =>
      [0, 1, 2].find((p) => part(token, own).every((x, c) => Math.abs(x - payload[p * 12 + c]) < 1e-9))
    t.is(payloadOf(term.positive[0], latents[i]), answer)
    t.true(term.negative.length > 0)
    const [x, y, z] = latents[i]
    const others = [
      [-x, -y, z],
      [-x, y, -z],
      [-x, -y, -z],
    ]
    for (const token of term.negative) {
      t.true(others.some((own) => payloadOf(token, own) !== undefined))
    }
  })
})

test('separation and corners of known clusters', (t) => {
  const labels = ['++', '+-', '-+', '--', '++', '+-', '-+', '--']
  const corner = { '++': [3, 1], '+-': [2, -1], '-+': [-2, 1], '--': [-3, -1] }
  const rows = Float64Array.from(
    labels.flatMap((label, i) => corner[label].map((x) => x + (i < 4 ? 0.1 : -0.1))),
  )
  const all = { rows, d: 2, labels }
  t.deepEqual([...centroids(all).keys()], ['++', '+-', '-+', '--'])
  t.true(Math.abs(cornerFit(all) - 1) < 1e-12)
  const { accuracy, between } = separation(all, all)
  t.is(accuracy, 1)
  // Variance of the corners (6.5 + 1) over that and the 0.01 + 0.01 around them.
  t.true(Math.abs(between - 7.5 / 7.52) < 1e-12)
  const bent = rows.slice()
  bent[0] += 4
  bent[8] += 4
  t.true(cornerFit({ rows: bent, d: 2, labels }) < 0.95)
})

test('principal components and cosines', async (t) => {
  const rows = Float64Array.of(1, 5, 0, -1, 5, 0, 3, 5, 0, -3, 5, 0)
  const { scores, count } = await principalComponents(rows, 3, 2)
  t.is(count, 2)
  t.deepEqual(
    [0, 2, 4, 6].map((at) => Math.round(Math.abs(scores[at]) * 1e6) / 1e6),
    [1, 1, 3, 3],
  )
  const angle = 0.3
  /** @type {import('../dist/index.js').Basis[]} */
  const [plane, tilted] = [
    { data: Float64Array.of(1, 0, 0, 1, 0, 0), shape: [3, 2] },
    { data: Float64Array.of(Math.cos(angle), 0, Math.sin(angle)), shape: [3, 1] },
  ]
  const [cosine, ...more] = await principalCosines(plane, tilted)
  t.deepEqual(more, [])
  t.true(Math.abs(cosine - Math.cos(angle)) < 1e-6)
})
