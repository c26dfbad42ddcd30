/** Layer by head maps, one a contrast; a cell selects its head. */

import * as Plot from '@observablehq/plot'
import { readableCells } from '../drawing/cells.js'
import { figure, frame } from '../drawing/figure.js'
import { el, menu, number, percent, plural } from '../shared/dom.js'
import { bestHead } from '../shared/evidence.js'
import { onSelect, place, select, selection } from '../shared/selection.js'
import { colour, diverging, inkOn, sequential } from '../shared/theme.js'

const MEASURES = {
  attention: {
    text: 'attention on the positive keys',
    of: ({ attention }) => attention?.positive ?? 0,
    words: 'Colour: attention on the positive keys.',
    there: ({ attention }) => attention !== undefined,
  },
  evidence: {
    text: '−log₁₀ p',
    of: ({ test }) => (test ? -Math.log10(test.p[test.hypothesis]) : 0),
    words: 'Colour: −log₁₀ p of the test, which ends at the number of draws.',
    there: ({ test }) => test !== undefined,
  },
  scoreGap: {
    text: 'score gap',
    of: (found) => found.scoreGap,
    words: 'Colour: score gap.',
    signed: true,
  },
  norm: {
    text: 'size ‖ΔC‖',
    of: (found) => Math.sqrt(found.totalEnergy),
    words: 'Colour: ‖ΔC‖.',
  },
  rank: { text: 'rank', of: (found) => found.rank, words: 'Colour: rank.' },
}

/** Those that a result has, of its first head. */
function measures() {
  const [[first]] = Object.values(selection.result.heads).map((all) => Object.values(all))
  return Object.keys(MEASURES).filter((name) => MEASURES[name].there?.(first) ?? true)
}

/** Contrasts whose maps are seen at once; the others are a step away. */
const FIRST = 8

export function maps() {
  let measure = measures()[0]
  let figures = []
  const grid = el('div', { class: 'maps' })
  const others = el('div', { class: 'maps' })
  const more = el('details', { class: 'more' }, el('summary', {}), others)
  more.addEventListener('toggle', () => {
    for (const { redraw } of figures.slice(FIRST)) redraw()
  })
  const scale = el('div', { class: 'ramp', 'aria-hidden': 'true' })
  const fill = () => {
    figures = selection.result.prompts.contrasts.map((contrast) => mapOf(contrast, () => measure, scale))
    const nodes = figures.map(({ node }) => node)
    grid.replaceChildren(...nodes.slice(0, FIRST))
    others.replaceChildren(...nodes.slice(FIRST))
    for (const own of [grid, others]) own.classList.toggle('wide', widest(selection.result) > 6)
    more.hidden = nodes.length <= FIRST
    more.querySelector('summary').textContent = plural(nodes.length - FIRST, 'more contrast')
  }
  onSelect(({ result }) => {
    if (result) fill()
    else for (const { node } of figures) for (const svg of node.querySelectorAll('svg')) markSelected(svg)
  })
  fill()
  const options = measures().map((value) => ({ value, text: MEASURES[value].text }))
  return el('section', { id: 'heads', 'aria-labelledby': 'heads-title' }, [
    el('h2', { id: 'heads-title' }, 'Layers and heads'),
    el(
      'p',
      {},
      'Attention is the part of each query’s attention that its positive keys get, a mean over terms. The score gap is the mean scaled score of positive keys less that of negative keys; ‖ΔC‖ is the Frobenius norm, in units of q·k. Choose a cell, with the mouse or with arrow keys and Enter, to see its head in every part of this page.',
    ),
    el(
      'div',
      { class: 'choices' },
      menu('Colour', options, measure, (value) => {
        measure = value
        for (const { redraw } of figures) redraw()
      }),
      scale,
    ),
    grid,
    more,
  ])
}

/** The largest number of heads in a layer. */
const widest = (result) => Math.max(...Object.keys(result.heads).map((name) => place(name).head)) + 1

const cellsOf = (contrast) =>
  Object.entries(selection.result.heads).map(([name, contrasts]) => ({
    name,
    ...place(name),
    ...contrasts[contrast],
  }))

/** The largest value over all contrasts: one scale, so that maps compare. */
function largest({ of }) {
  return Math.max(
    ...Object.values(selection.result.heads).flatMap((all) => Object.values(all).map((c) => Math.abs(of(c)))),
  )
}

const CELL = 30
const MARGIN = 44

function mapOf(contrast, measure, ramp) {
  const { result } = selection
  const cells = cellsOf(contrast)
  const heads = [...new Set(cells.map((c) => c.head))].sort((a, b) => a - b)
  const rows = [...new Set(cells.map((c) => c.row))]
  return figure({
    id: () => `map-${contrast.replace(/\W+/g, '-')}`,
    title: () => contrast,
    caption: () => {
      const best = bestHead(result, contrast)
      const found = best
        ? `${best.test ? 'Most evidence' : 'Most attention, untested'}: ${best.head}${best.attention ? `, with ${percent(best.attention.positive)} of its attention on the positive keys` : ''}; score gap ${number(best.scoreGap, 2)}.`
        : 'No head is discovered: exchanged prompts show as much.'
      return `${MEASURES[measure()].words} Numbers: ranks. ${found}`
    },
    fileKey: () => {
      const { signed, text } = MEASURES[measure()]
      const most = largest(MEASURES[measure()])
      const fill = signed ? diverging(most) : sequential(most)
      return [signed ? -most : 0, signed ? 0 : most / 2, most].map((value) => ({
        text: `${text} ${number(value, most < 10 ? 1 : 0)}`,
        fill: fill(value),
      }))
    },
    draw: (width) => {
      const { of, signed, text } = MEASURES[measure()]
      const most = largest(MEASURES[measure()])
      const fill = signed ? diverging(most) : sequential(most)
      showRamp(ramp, fill, most, signed, text)
      const size = Math.max(CELL, Math.min(56, (width - MARGIN - 8) / heads.length))
      const svg = frame({
        width: MARGIN + 8 + size * heads.length,
        height: 44 + size * 0.8 * rows.length,
        ...{ marginLeft: MARGIN, marginRight: 8, marginTop: 8, marginBottom: 36, padding: 0 },
        x: {
          type: 'band',
          domain: heads,
          label: 'head',
          labelAnchor: 'center',
          labelArrow: 'none',
          tickSize: 0,
        },
        y: { type: 'band', domain: rows, label: null, tickSize: 0 },
        marks: [
          Plot.cell(cells, {
            x: 'head',
            y: 'row',
            fill: { value: (c) => fill(of(c)), scale: null },
            inset: 1.5,
            rx: 3,
          }),
          Plot.text(cells, {
            x: 'head',
            y: 'row',
            text: (c) => `${c.rank}`,
            fill: { value: (c) => inkOn(fill(of(c))), scale: null },
            pointerEvents: 'none',
          }),
        ],
      })
      operate(svg, cells, contrast, result, heads.length)
      return svg
    },
    rows: () =>
      cells.map(({ name, scoreGap, totalEnergy, rank, terms, skipped, attention, test }) => ({
        ...{ head: name, contrast, scoreGap, norm: Math.sqrt(totalEnergy), rank, terms, skipped },
        ...(attention && { attention: attention.positive, attentionOnNegatives: attention.negative }),
        ...(test && { p: test.p[test.hypothesis], q: test.q, discovered: test.discovered }),
      })),
  })
}

/** Makes every cell a button that selects its head. */
function operate(svg, cells, contrast, result, columns) {
  const words = ({ name, rank, scoreGap, totalEnergy, attention, test }) =>
    [
      `${name}, ${contrast}: `,
      attention ? `attention ${percent(attention.positive)}, ` : '',
      test ? `p ${test.p[test.hypothesis].toPrecision(2)}, ` : '',
      `score gap ${number(scoreGap)}, rank ${rank}, ‖ΔC‖ ${number(Math.sqrt(totalEnergy), 2)}`,
    ].join('')
  const rects = [...svg.querySelectorAll('g[aria-label="cell"] rect')]
  rects.forEach((rect, i) => {
    const { name } = cells[i]
    rect.dataset.head = name
    rect.dataset.contrast = contrast
    rect.setAttribute('role', 'button')
    const choose = () => select({ result, contrast, head: name })
    rect.addEventListener('click', choose)
    rect.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== ' ') return
      event.preventDefault()
      choose()
    })
  })
  const selected = cells.findIndex((c) => c.name === selection.head)
  readableCells(svg, rects, cells.map(words), columns, selected)
  markSelected(svg)
}

function markSelected(svg) {
  for (const rect of svg.querySelectorAll('rect[data-head]')) {
    const chosen = rect.dataset.head === selection.head
    rect.setAttribute('aria-pressed', `${chosen && rect.dataset.contrast === selection.contrast}`)
    rect.setAttribute('stroke', chosen ? colour('ink') : 'none')
    rect.setAttribute('stroke-width', rect.dataset.contrast === selection.contrast ? '3' : '1.5')
  }
}

function showRamp(ramp, fill, most, signed, text) {
  const low = signed ? -most : 0
  const stops = Array.from({ length: 9 }, (_, i) => fill(low + ((most - low) * i) / 8))
  ramp.replaceChildren(
    el('span', {}, number(low, most < 10 ? 1 : 0)),
    el('i', { style: `background:linear-gradient(to right, ${stops.join(', ')})` }),
    el('span', {}, `${number(most, most < 10 ? 1 : 0)} ${text}`),
  )
}
