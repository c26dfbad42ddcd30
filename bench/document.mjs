/**
 * Writes docs/benchmarks.md and its plots from a result file.
 *
 *   node bench/document.mjs bench/results/<file>.json [<more of the same machine>.json ...]
 */

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'
import { cases } from './cases/index.mjs'
import { formatSeconds, ofCeiling } from './report.mjs'

/** What is ours: never a rival in the summary. */
const OWN = new Set(['cpu', 'js', 'cuda'])

const files = process.argv.slice(2)
if (files.length === 0) {
  process.stderr.write('usage: node bench/document.mjs RESULT.json [MORE.json ...]\n')
  process.exit(2)
}
const [result, ...more] = files.map((file) => JSON.parse(readFileSync(file, 'utf8')))
// Later runs add variants, and replace those of the same label; each keeps the ceilings of its own run.
for (const [from, { cases: found, ceilings }] of [result, ...more].entries()) {
  for (const [name, variants] of Object.entries(found)) {
    for (const variant of variants) {
      variant.ceilings = ceilings
    }
    if (from === 0) {
      continue
    }
    const labels = variants.map(({ label }) => label)
    const kept = (result.cases[name] ?? []).filter(({ label }) => !labels.includes(label))
    result.cases[name] = [...kept, ...variants]
  }
}
const docs = fileURLToPath(new URL('../docs/', import.meta.url))

const sections = Object.entries(result.cases).map(([name, variants]) => {
  const plotted = variants.filter((v) => v.subjects.filter((s) => s.median !== undefined).length > 2)
  const pictures = plotted.slice(0, 1).map((variant) => {
    const picture = `benchmark-${name}.svg`
    writeFileSync(path.join(docs, picture), draw(variant))
    return `![${variant.label}](${picture})\n\n`
  })
  return `## ${cases[name].title}\n\n${pictures.join('')}${variants.map(table).join('\n')}`
})
writeFileSync(path.join(docs, 'benchmarks.md'), `${head()}\n${summary()}\n${sections.join('\n')}`)

function head() {
  const { date, cpu, cores, memoryGiB, instructionSet, versions, rounds, ceilings } = result
  const ceiling = (name, what) =>
    ceilings[name].missing
      ? `${what}: missing (${ceilings[name].missing})`
      : `${what} ${ceilings[name].value.toFixed(1)} ${ceilings[name].unit}`
  return `# Benchmarks

Made by \`node bench/document.mjs\` from ${files.map((file) => `\`bench/results/${path.basename(file)}\``).join(' and ')}; measured by \`npm run bench\`. Every subject ran in a fresh process, was verified against a float64 reference before it was timed (column "error"), and took turns with the others over ${rounds} rounds. Figures are medians, with the fastest and slowest run.

${date.slice(0, 10)}, ${cpu}, ${cores} cores, ${memoryGiB} GiB, instruction set ${instructionSet}; ${Object.entries(
    versions,
  )
    .map(([name, version]) => `${name} ${version}`)
    .join(
      ', ',
    )}. Ceilings in the same run: ${ceiling('numpy-sgemm', 'OpenBLAS sgemm')}, ${ceiling('numpy-bandwidth', 'memory')}.

What bounds each kernel, and what was tried: [How fast, and why](performance.md). The GPU has a benchmark of its own, \`npm run bench:gpu\`: [what it found](gpu.md#measured).
`
}

/** Where the processor's backend was fastest, and, first, where it was not. */
function summary() {
  const raced = Object.entries(result.cases).flatMap(([name, variants]) =>
    variants.flatMap(({ label, subjects }) => {
      const own = subjects.find(({ subject }) => subject === 'cpu')
      const [rival] = subjects
        .filter(({ subject, median }) => !OWN.has(subject) && median !== undefined)
        .sort((a, b) => a.median - b.median)
      if (own?.median === undefined || !rival) {
        return []
      }
      return [{ name, label, rival: rival.subject, lead: rival.median / own.median }]
    }),
  )
  const lost = raced.filter(({ lead }) => lead < 1).sort((a, b) => a.lead - b.lead)
  const won = raced.filter(({ lead }) => lead >= 1).sort((a, b) => a.lead - b.lead)
  const line = ({ name, label, rival, lead }) =>
    lead < 1
      ? `- ${name}, ${label}: ${rival} takes ${lead.toFixed(2)} of the time of \`cpu\`.`
      : `- ${name}, ${label}: ${lead.toFixed(2)} times as fast as ${rival}.`
  return `## Summary

Of ${raced.length} variants that a rival ran too, \`cpu\` is the fastest in ${won.length}. It is slower in ${lost.length}:

${lost.map(line).join('\n') || '- none'}

Two of these rivals do less: \`numpy-contiguous\` is given rows that lie side by side already, \`plain run\` captures nothing.

The smallest leads of the others:

${won.slice(0, 5).map(line).join('\n')}
`
}

function table({ label, subjects, work, ceilings }) {
  const own = subjects[0]
  const rows = subjects.map((s) => {
    if (s.missing) {
      return [s.subject, 'missing', s.missing, '', '', '', '']
    }
    if (s.failed) {
      return [s.subject, 'failed', s.failed, '', '', '', '']
    }
    if (s.value !== undefined) {
      return [
        s.subject,
        `${s.value.toPrecision(4)} ${s.unit}`,
        s.note ?? '',
        (s.value / own.value).toFixed(2),
        '',
        '',
        '',
      ]
    }
    const rate = [
      work?.flops && `${(work.flops / s.median / 1e9).toFixed(1)} GFLOP/s`,
      work?.bytes && `${(work.bytes / s.median / 1e9).toFixed(2)} GB/s`,
    ].filter(Boolean)
    return [
      s.subject,
      formatSeconds(s.median),
      `${formatSeconds(s.min)} to ${formatSeconds(s.max)}`,
      (s.median / own.median).toFixed(2),
      rate.join(', '),
      ofCeiling(work, s.median, ceilings),
      s.error === undefined ? '' : s.error.toExponential(0),
    ]
  })
  const line = (cells) => `| ${cells.join(' | ')} |\n`
  const header = ['subject', 'median', 'spread', `times ${own.subject}`, 'rate', 'of ceiling', 'error']
  return `**${label}**\n\n${line(header)}${line(header.map(() => '---'))}${rows.map(line).join('')}`
}

function draw({ label, subjects }) {
  const { document } = parseHTML('<!doctype html><html><body></body></html>')
  const data = subjects.filter((s) => s.median !== undefined)
  const svg = Plot.plot({
    document,
    title: label,
    width: 760,
    height: 78 + 26 * data.length,
    marginLeft: 130,
    marginRight: 80,
    marginBottom: 48,
    style: { background: 'white', color: '#1f2933', 'font-size': '12px' },
    x: {
      type: 'log',
      label: 'median time (log scale)',
      tickFormat: (s) => (Math.abs(Math.log10(s) % 1) < 1e-9 ? formatSeconds(s).replace('.00', '') : ''),
      grid: true,
    },
    y: { label: null, domain: data.map((s) => s.subject) },
    marks: [
      Plot.ruleY(data, {
        y: 'subject',
        x1: Math.min(...data.map((s) => s.min)) / 2,
        x2: 'median',
        stroke: (d) => (d.subject === data[0].subject ? '#c2410c' : '#9aa5b1'),
        strokeWidth: 12,
      }),
      Plot.ruleY(data, { y: 'subject', x1: 'min', x2: 'max', stroke: '#1f2933' }),
      Plot.text(data, {
        y: 'subject',
        x: 'max',
        text: (d) => formatSeconds(d.median),
        textAnchor: 'start',
        dx: 6,
      }),
    ],
  })
  const inner = svg.tagName.toLowerCase() === 'svg' ? svg : svg.querySelector('svg')
  inner.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  return `${inner.outerHTML}\n`
}
