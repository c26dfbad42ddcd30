/** The singular values of the selected head and contrast, and the energy they hold, with the rank rule's cut. */

import * as Plot from '@observablehq/plot'
import { figure, frame } from '../drawing/figure.js'
import { el, number, percent, plural } from '../shared/dom.js'
import { onSelect, selection } from '../shared/selection.js'
import { colour } from '../shared/theme.js'

const found = () => selection.result.heads[selection.head][selection.contrast]
const named = () => `${selection.head}, ${selection.contrast}`

/** One row a component: all of them where the result has the whole spectrum, otherwise those that were kept. */
function components() {
  const { s, spectrum, rank, totalEnergy } = found()
  let sum = 0
  const share = (energy) => (totalEnergy > 0 ? energy / totalEnergy : 0)
  return (spectrum ?? s).map((value, i) => {
    sum += value * value
    return {
      component: i + 1,
      singularValue: value,
      energy: share(value * value),
      cumulated: share(sum),
      kept: i < rank,
    }
  })
}

const cutKey = () => ({ text: 'the rule’s cut', fill: colour('above'), shape: 'line' })

const isWhole = () => found().spectrum !== undefined
const fillOf = (row) => (row.kept ? colour('accent') : colour('rest'))

/** What the bars' colours mean, where both are there. */
const barKey = (kept, cut) => [
  { text: kept, fill: colour('accent') },
  ...(isWhole() ? [{ text: cut, fill: colour('rest') }] : []),
]

/** Behind the last component that was kept. */
const cutLine = (rows, width) => {
  const last = rows.findLast((r) => r.kept)
  if (!last) return undefined
  const step = (width - MARGINS.marginLeft - MARGINS.marginRight) / rows.length
  const dx = isWhole() ? step / 2 : 0
  return Plot.ruleX([last], {
    ...{ x: 'component', dx, stroke: colour('above'), strokeDasharray: '5 4', strokeWidth: 1.5 },
  })
}

/** How the rank came about, under a rule other than the energy. */
function rankWords() {
  const { rule, rank } = selection.result.rank
  const { test } = found()
  if (rule === 'fixed') return `The rank was fixed at ${rank}.`
  if (!test) return ''
  const { hypothesis, q, draws, units } = test
  const evidence = `p = ${test.p[hypothesis].toPrecision(2)} and q = ${q.toPrecision(2)}, over ${plural(draws, 'draw')} and ${plural(units, 'unit')}`
  return test.discovered
    ? `${plural(found().rank, 'component')} ${found().rank === 1 ? 'is' : 'are'} more than exchanged prompts show (${evidence}).`
    : `Exchanged prompts show as much (${evidence}): the rank is 0.`
}

const NOTHING = 'The rank of this head is 0 for this contrast: there is no component to draw.'

export function spectrum() {
  const line = el('p', { class: 'lead', 'aria-live': 'polite' })
  const figures = [values(), energies()]
  const fill = () => {
    const { rank, scoreGap, terms, skipped, errorBound, converged } = found()
    line.textContent =
      `${selection.head} for “${selection.contrast}”: rank ${rank}, score gap ${number(scoreGap)}, ` +
      `${plural(terms, 'term')}${skipped ? `, ${skipped} left out` : ''}; ` +
      (converged
        ? `the components kept leave at most ${percent(errorBound)} of ‖ΔC‖.`
        : 'the decomposition did not converge.')
  }
  onSelect(() => {
    fill()
    for (const { redraw } of figures) redraw()
  })
  fill()
  return el('section', { id: 'head', 'aria-labelledby': 'head-title' }, [
    el('h2', { id: 'head-title' }, 'One head'),
    line,
    el(
      'div',
      { class: 'pair' },
      figures.map(({ node }) => node),
    ),
  ])
}

const MARGINS = { marginLeft: 44, marginBottom: 40, marginRight: 16 }

const across = (rows) => ({
  padding: 0,
  type: 'band',
  domain: rows.map((r) => r.component),
  ticks: rows.map((r) => r.component).filter((c) => rows.length <= 16 || c === 1 || c % tickStep(rows) === 0),
  label: 'component',
  labelAnchor: 'center',
  labelArrow: 'none',
  tickSize: 0,
})

/** Of the numbers below the axis, which would run into each other. */
const tickStep = (rows) => 5 * Math.ceil(rows.length / 50)

function values() {
  return figure({
    id: () => 'singular-values',
    title: () => `Singular values: ${named()}`,
    caption: () =>
      isWhole()
        ? `All ${components().length} singular values of ΔC, in units of q·k; the rank rule cuts at the dashed line.`
        : 'The singular values of ΔC that were kept, in units of q·k.',
    key: () => (isWhole() ? [...barKey('kept', 'cut off'), cutKey()] : []),
    draw: (width) => {
      const rows = components()
      if (rows.length === 0) return NOTHING
      return frame({
        width,
        height: 260,
        ...MARGINS,
        x: across(rows),
        y: { label: 'singular value', grid: true, labelArrow: 'none', nice: true },
        marks: [
          Plot.barY(rows, {
            x: 'component',
            y: 'singularValue',
            fill: { value: fillOf, scale: null },
            insetLeft: 1,
            insetRight: 1,
          }),
          isWhole() ? cutLine(rows, width) : undefined,
          Plot.ruleY([0], { stroke: colour('ink') }),
          Plot.tip(
            rows,
            Plot.pointerX({
              x: 'component',
              y: 'singularValue',
              title: (r) => `component ${r.component}\n${r.singularValue.toPrecision(4)}`,
              fill: colour('surface'),
            }),
          ),
        ],
      })
    },
    rows: components,
  })
}

function energies() {
  const rule = () => selection.result.rank
  return figure({
    id: () => 'energy',
    title: () => `Energy held: ${named()}`,
    caption: () =>
      rule().rule === 'energy'
        ? `Share of ‖ΔC‖² in each component (bars) and in all up to it (line). The rule keeps the smallest rank at or above ${percent(rule().threshold, 0)}, the dashed line: rank ${found().rank}, which holds ${percent(components().findLast((r) => r.kept)?.cumulated ?? 0, 2)}.`
        : `Share of ‖ΔC‖² in each component (bars) and in all up to it (line). ${rankWords()}`,
    key: () => [
      ...barKey('each component', 'each that was cut off'),
      { text: 'all up to it', fill: colour('ink'), shape: 'line' },
      cutKey(),
    ],
    draw: (width) => {
      const rows = components()
      if (rows.length === 0) return NOTHING
      const { threshold } = rule()
      return frame({
        width,
        height: 260,
        ...MARGINS,
        x: across(rows),
        y: { label: 'share of energy', grid: true, labelArrow: 'none', domain: [0, 1], tickFormat: '.0%' },
        marks: [
          Plot.barY(rows, {
            x: 'component',
            y: 'energy',
            fill: { value: fillOf, scale: null },
            insetLeft: 1,
            insetRight: 1,
          }),
          Plot.ruleY([0], { stroke: colour('ink') }),
          threshold === undefined
            ? undefined
            : Plot.ruleY([threshold], { stroke: colour('above'), strokeDasharray: '5 4', strokeWidth: 1.5 }),
          cutLine(rows, width),
          Plot.line(rows, { x: 'component', y: 'cumulated', stroke: colour('ink'), strokeWidth: 1.5 }),
          Plot.dot(rows, {
            x: 'component',
            y: 'cumulated',
            fill: colour('ink'),
            r: rows.length > 40 ? 1.5 : 3,
          }),
          Plot.tip(
            rows,
            Plot.pointerX({
              x: 'component',
              y: 'cumulated',
              title: (r) =>
                `component ${r.component}\nalone ${percent(r.energy)}\nup to it ${percent(r.cumulated)}`,
              fill: colour('surface'),
            }),
          ),
        ],
      })
    },
    rows: components,
  })
}
