/** The singular values of the selected head and contrast beside those of the null, with the rank rule's cut. */

import * as Plot from '@observablehq/plot'
import { headDimOf } from '../../finding/finding.ts'
import { figure, frame } from '../drawing/figure.js'
import { el, number, percent, plural, pValue } from '../shared/dom.js'
import { onSelect, selected, selection } from '../shared/selection.js'
import { colour } from '../shared/theme.js'

const named = () => `${selection.head}, ${selection.contrast}`

/** One row a component: all of them where the result has the whole spectrum, otherwise those that were kept. */
function components() {
  const { s, spectrum, rank, totalEnergy } = selected()
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
      ...nullOf(i),
    }
  })
}

/** What the null's largest value is once the components before this one are taken out; of those that were tested. */
function nullOf(i) {
  const { test } = selected()
  const own = test?.componentNull?.[i] ?? (i === 0 ? test?.null : undefined)
  return own ? { nullMean: own.mean, nullTop: own.p95, p: test.componentP[i] } : {}
}

const cutKey = () => ({ text: 'the rule’s cut', fill: colour('above'), shape: 'line' })

const isWhole = () => selected().spectrum !== undefined

/** Large reports keep the first of what was not discovered. */
const isCut = () => selected().spectrum?.length < headDimOf(selection.result, selection.head)
const fillOf = (row) => (row.kept ? colour('accent') : colour('rest'))

/** What the bars' colours mean, where both are there. */
const barKey = (kept, cut) => [
  { text: kept, fill: colour('accent') },
  ...(isWhole() ? [{ text: cut, fill: colour('rest') }] : []),
]

/** Behind the last component that was kept. */
const cutLine = (rows, width) => {
  const last = rows.findLast((r) => r.kept)
  if (!last) {
    return undefined
  }
  const step = (width - MARGINS.marginLeft - MARGINS.marginRight) / rows.length
  const dx = isWhole() ? step / 2 : 0
  return Plot.ruleX([last], {
    x: 'component',
    dx,
    stroke: colour('above'),
    strokeDasharray: '5 4',
    strokeWidth: 1.5,
  })
}

/** How the rank came about. */
function rankWords() {
  const { rule, rank } = selection.result.rank
  const { test } = selected()
  if (rule === 'fixed') {
    return `The rank was fixed at ${rank}.`
  }
  if (!test) {
    return ''
  }
  if (!test.discovered) {
    return 'Random labels do as well: the rank is 0.'
  }
  const alone = test.blocks.filter((block) => block.length === 1).length
  const blocks = test.blocks.map((block) =>
    block.length === 1 ? `${block[0] + 1}` : `${block[0] + 1} to ${block.at(-1) + 1}`,
  )
  return `${plural(selected().rank, 'component')} ${selected().rank === 1 ? 'stands' : 'stand'} above the null. ${alone === test.blocks.length ? 'Each can be told from its neighbours.' : `Blocks that cannot be told apart: ${blocks.join('; ')}.`}`
}

const NOTHING = 'The rank of this head is 0 for this contrast: there is no component to draw.'

export function spectrum() {
  const line = el('p', { class: 'lead', 'aria-live': 'polite' })
  const [first, second] = [values(), energies()]
  const pair = el('div', {})
  const fill = () => {
    const { rank, scoreGap, terms, skipped, errorBound, converged } = selected()
    const d = headDimOf(selection.result, selection.head)
    line.textContent =
      `${selection.head} for “${selection.contrast}”: rank ${rank}${d ? ` of ${plural(d, 'dimension')}` : ''}, score gap ${number(scoreGap)}, ` +
      `${plural(terms, 'term')}${skipped ? `, ${skipped} left out` : ''}; ` +
      (converged
        ? `the components kept leave at most ${percent(errorBound)} of ‖ΔC‖, the size of the contrast’s covariance.`
        : 'the decomposition did not converge.')
    const byEnergy = selection.result.rank.rule === 'energy'
    pair.className = byEnergy ? 'pair' : ''
    pair.replaceChildren(first.node, ...(byEnergy ? [second.node] : []))
    first.redraw()
    second.redraw()
  }
  onSelect(fill)
  fill()
  return el('section', { id: 'subspace', 'aria-labelledby': 'subspace-title' }, [
    el('h2', { id: 'subspace-title' }, 'The subspace'),
    line,
    pair,
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
      `${
        isWhole()
          ? `${isCut() ? 'The first' : 'All'} ${components().length} singular values of ΔC, in units of q·k; the rank rule cuts at the dashed line.`
          : 'The singular values of ΔC that were kept, in units of q·k.'
      } ${rankWords()}`,
    key: () => [
      ...(isWhole() ? [...barKey('kept', 'cut off'), cutKey()] : []),
      ...(components().some((r) => r.nullTop !== undefined)
        ? [
            {
              text: 'null, mean to 95th percentile, of the components that were tested',
              fill: colour('shade'),
            },
          ]
        : []),
    ],
    draw: (width) => {
      const rows = components()
      if (rows.length === 0) {
        return NOTHING
      }
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
          Plot.rect(
            rows.filter((r) => r.nullTop !== undefined),
            {
              x: 'component',
              y1: 'nullMean',
              y2: 'nullTop',
              insetLeft: -1,
              insetRight: -1,
              fill: colour('shade'),
              stroke: colour('ink'),
              strokeWidth: 0.75,
              className: 'null-band',
            },
          ),
          isWhole() ? cutLine(rows, width) : undefined,
          Plot.ruleY([0], { stroke: colour('ink') }),
          Plot.tip(
            rows,
            Plot.pointerX({
              x: 'component',
              y: 'singularValue',
              title: (r) =>
                [
                  `component ${r.component}: ${r.singularValue.toPrecision(4)}`,
                  ...(r.nullTop === undefined
                    ? ['not tested']
                    : [
                        `null ${r.nullMean.toPrecision(3)}, 95th percentile ${r.nullTop.toPrecision(3)}`,
                        ...(r.p === undefined ? [] : [`p ${pValue(r.p)}`]),
                      ]),
                ].join('\n'),
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
        ? `Share of ‖ΔC‖² in each component (bars) and in all up to it (line). The rule keeps the smallest rank at or above ${percent(rule().threshold, 0)}, the dashed line: rank ${selected().rank}, which holds ${percent(components().findLast((r) => r.kept)?.cumulated ?? 0, 2)}.`
        : `Share of ‖ΔC‖² in each component (bars) and in all up to it (line). ${rankWords()}`,
    key: () => [
      ...barKey('each component', 'each that was cut off'),
      { text: 'all up to it', fill: colour('ink'), shape: 'line' },
      cutKey(),
    ],
    draw: (width) => {
      const rows = components()
      if (rows.length === 0) {
        return NOTHING
      }
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
