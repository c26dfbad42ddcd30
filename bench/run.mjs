/**
 * The benchmark. Each subject runs in a fresh process, is verified against a float64 reference before it
 * is timed, and takes turns with the others over several rounds; figures are medians with their spread.
 *
 *   npm run bench                                  everything (about 20 minutes)
 *   npm run bench -- --case svd --quick            one case in under a minute
 *   npm run bench -- --case pairs --variant "over 8"   the variants whose label has these words
 *   npm run bench -- --out results.json            where the figures go (default bench/results/<date>-<cpu>.json)
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cases } from './cases/index.mjs'
import { machine } from './machine.mjs'
import { measure } from './measure.mjs'
import { formatSeconds, ofCeiling, printTable, statistics } from './report.mjs'

const { values: options } = parseArgs({
  options: {
    case: { type: 'string', multiple: true },
    variant: { type: 'string' },
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    out: { type: 'string' },
  },
})

const names = options.case ?? Object.keys(cases)
for (const name of names) {
  if (cases[name]) {
    continue
  }
  process.stderr.write(`there is no case "${name}"; cases: ${Object.keys(cases).join(', ')}\n`)
  process.exit(2)
}
/** A subject that takes longer than this, in seconds, has its turn in the first round only. */
const SLOW = 3
const rounds = Number(options.rounds ?? (options.quick ? 1 : 3))
const report = { ...machine(), quick: options.quick, rounds, ceilings: {}, cases: {} }

report.ceilings = ceilings()
const out = options.out ?? defaultOut()
mkdirSync(path.dirname(path.resolve(out)), { recursive: true })
for (const name of names) {
  report.cases[name] = await runCase(name, cases[name])
  // After every case, so that a long run that is stopped keeps what it has.
  writeFileSync(out, `${JSON.stringify(report, null, 1)}\n`)
}
process.stdout.write(`\nwritten ${path.relative(process.cwd(), path.resolve(out))}\n`)

/** What bounds the kernels, measured in the same run. */
function ceilings() {
  const found = {}
  for (const subject of ['numpy-sgemm', 'numpy-bandwidth']) {
    const result = measure('ceiling', subject, undefined, options.quick)
    found[subject] = result.missing ? { missing: result.missing } : { value: result.value, unit: result.unit }
  }
  const show = ({ value, unit, missing }) =>
    missing ? `missing (${missing})` : `${value.toFixed(1)} ${unit}`
  process.stdout.write(
    `ceilings: sgemm ${show(found['numpy-sgemm'])}, memory ${show(found['numpy-bandwidth'])}\n`,
  )
  return found
}

async function runCase(name, { title, variants, subjects, prepare, work }) {
  process.stdout.write(`\n${title}\n`)
  const results = []
  for (const variant of variants(options.quick)) {
    if (options.variant && !variant.label.includes(options.variant)) {
      continue
    }
    const folder = mkdtempSync(path.join(tmpdir(), 'qkspace-bench-'))
    try {
      const meta = (await prepare?.(variant.params, folder)) ?? variant.params
      writeFileSync(path.join(folder, 'meta.json'), JSON.stringify(meta))
      results.push(runVariant(name, variant, subjects(variant.params), folder, work?.(variant.params)))
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }
  return results
}

function runVariant(name, { label, params }, subjects, folder, work) {
  const samples = new Map(subjects.map((s) => [s, { seconds: [], values: [] }]))
  for (let round = 0; round < rounds; round++) {
    for (const subject of subjects) {
      const entry = samples.get(subject)
      const slow = entry.seconds.some((s) => s > SLOW)
      if (!entry.missing && !entry.failed && !slow) {
        addSample(entry, measure(name, subject, folder, options.quick))
      }
    }
  }
  const rows = subjects.map((subject) => {
    const { seconds, values, ...rest } = samples.get(subject)
    return {
      subject,
      ...rest,
      ...statistics(seconds),
      ...(values.length ? { value: statistics(values).median } : {}),
    }
  })
  process.stdout.write(`\n  ${label}\n`)
  const own = rows[0]
  printTable(
    ['subject', 'median', 'min', 'max', `times ${own.subject}`, 'rate', 'of ceiling', 'error'],
    rows.map((row) => tableRow(row, own, work)),
  )
  return { label, params, work, subjects: rows }
}

function addSample(entry, { missing, failed, seconds, value, error, note, unit }) {
  if (missing) {
    entry.missing = missing
  } else if (failed) {
    entry.failed = failed
  } else {
    entry.seconds.push(...(seconds ?? []))
    if (value !== undefined) {
      entry.values.push(value)
    }
    Object.assign(entry, { error, note, unit })
  }
}

function tableRow(r, own, work) {
  if (r.missing) {
    return [r.subject, 'missing', '', '', '', '', '', r.missing]
  }
  if (r.failed) {
    return [r.subject, 'failed', '', '', '', '', '', r.failed]
  }
  if (r.value !== undefined) {
    const value = `${r.value.toPrecision(4)} ${r.unit}`
    return [r.subject, value, '', '', (r.value / own.value).toFixed(2), '', '', r.note ?? '']
  }
  const rate = work?.flops ? `${(work.flops / r.median / 1e9).toFixed(1)} GFLOP/s` : ''
  const moved = work?.bytes ? `${(work.bytes / r.median / 1e9).toFixed(2)} GB/s` : ''
  return [
    r.subject,
    formatSeconds(r.median),
    formatSeconds(r.min),
    formatSeconds(r.max),
    (r.median / own.median).toFixed(2),
    [rate, moved].filter(Boolean).join(', '),
    ofCeiling(work, r.median, report.ceilings),
    r.error === undefined ? '' : r.error.toExponential(1),
  ]
}

function defaultOut() {
  const { cpu, date } = report
  const slug = cpu
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '')
  const folder = fileURLToPath(new URL('results/', import.meta.url))
  return path.join(
    folder,
    options.quick || options.case ? 'latest-partial.json' : `${date.slice(0, 10)}-${slug}.json`,
  )
}
