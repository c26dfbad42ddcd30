/** Horizontal bars, each beside what it has to beat: null subspaces as a band, other controls as marks. */

import * as Plot from '@observablehq/plot'
import { number } from '../shared/dom.js'
import { colour, paler } from '../shared/theme.js'
import { frame } from './figure.js'
import { SHAPES } from './points/looks.js'

const MARKS = [
  { field: 'keys', text: 'key principal components', fill: 'feature-1', symbol: 'square' },
  { field: 'meanQuery', text: 'mean query', fill: 'feature-3', symbol: 'triangle' },
  { field: 'random', text: 'random (Haar) subspaces', fill: 'feature-2', symbol: 'circle' },
  { field: 'whole', text: 'whole keys', fill: 'ink', symbol: 'times' },
]

const isNumber = Number.isFinite

/** What the colours mean; `own` names the bars, `control` those of controls, where they have rows of their own. */
export function controlKey(own, rows, control) {
  return [
    { text: own, fill: colour('accent') },
    ...(rows.some((r) => r.within) ? [{ text: `${own}, within null`, fill: paler('accent') }] : []),
    ...(control ? [{ text: control, fill: colour('rest') }] : []),
    ...(rows.some((r) => isNumber(r.nullTop))
      ? [{ text: 'null subspaces, mean to 95th percentile', fill: colour('shade') }]
      : []),
    ...MARKS.filter(({ field }) => rows.some((r) => isNumber(r[field]))).map(({ text, fill, symbol }) => ({
      text,
      fill: colour(fill),
      shape: SHAPES[symbol],
    })),
  ]
}

/** What is said of bars that have no null. */
export const NO_NULL = 'no null: the result was made without null subspaces'

/**
 * Of rows with `label`, `mean` and an interval `low` to `high`; `nullMean` and `nullTop`, `keys`, `meanQuery`, `random`
 * and `whole` where they were measured; `within` says that the mean does not exceed `nullTop`, `isControl` that the row
 * is itself what others are compared with.
 */
export function controlledBars(width, rows, x) {
  const narrow = width < 560
  const values = rows.flatMap((r) => [
    r.mean,
    r.low,
    r.nullTop,
    r.nullMean,
    r.keys,
    r.meanQuery,
    r.random,
    r.whole,
  ])
  const known = values.filter(isNumber)
  const least = Math.min(0, ...known)
  // Fractions end at 1, but small ones have the whole width.
  const most = x.domain && Math.min(x.domain[1], 1.1 * Math.max(...known, 0.01))
  const fill = (r) => (r.isControl ? colour('rest') : r.within ? paler('accent') : colour('accent'))
  return frame({
    width,
    height: 46 + 28 * rows.length,
    marginLeft: narrow ? 118 : 200,
    marginRight: narrow ? 72 : 90,
    marginBottom: 36,
    marginTop: 6,
    y: { domain: rows.map((r) => r.label), label: null, axis: null, padding: 0.3 },
    x: {
      grid: true,
      labelAnchor: 'center',
      labelArrow: 'none',
      ticks: narrow ? 3 : 5,
      nice: !x.domain,
      ...x,
      ...(x.domain && { domain: [Math.min(least, x.domain[0]), most] }),
    },
    marks: [
      Plot.axisY({
        anchor: 'left',
        tickSize: 0,
        lineWidth: narrow ? 9 : 15,
        fontSize: narrow ? 11 : 12,
      }),
      Plot.barX(rows, { y: 'label', x: 'mean', fill: { value: fill, scale: null } }),
      Plot.rect(
        rows.filter((r) => isNumber(r.nullTop)),
        {
          y: 'label',
          x1: 'nullMean',
          x2: 'nullTop',
          insetTop: -3,
          insetBottom: -3,
          fill: colour('shade'),
          stroke: colour('ink'),
          strokeWidth: 0.75,
          className: 'null-band',
        },
      ),
      Plot.ruleY(
        rows.filter((r) => isNumber(r.low) && isNumber(r.high)),
        { y: 'label', x1: 'low', x2: 'high', stroke: colour('ink'), strokeWidth: 2 },
      ),
      ...MARKS.map(({ field, fill: name, symbol }) =>
        Plot.dot(
          rows.filter((r) => isNumber(r[field])),
          {
            y: 'label',
            x: field,
            r: 4,
            symbol,
            ...(symbol === 'times'
              ? { stroke: colour(name), strokeWidth: 2 }
              : { fill: colour(name), stroke: colour('surface') }),
          },
        ),
      ),
      Plot.text(
        rows.filter((r) => !r.isControl && (r.within || !isNumber(r.nullTop))),
        {
          y: 'label',
          frameAnchor: 'right',
          textAnchor: 'start',
          dx: 8,
          text: (r) => (r.within ? 'within null' : 'no null'),
          fill: colour('ink'),
          fontSize: 11,
        },
      ),
      Plot.ruleX([0], { stroke: colour('ink') }),
      Plot.tip(rows, Plot.pointer({ y: 'label', x: 'mean', title: tipText, fill: colour('surface') })),
    ],
  })
}

function tipText(row) {
  const told = (name, value) => (isNumber(value) ? [`${name} ${number(value)}`] : [])
  return [
    `${row.label}: ${number(row.mean)}`,
    ...(isNumber(row.low) ? [`95%: ${number(row.low)} to ${number(row.high)}`] : []),
    ...(isNumber(row.nullTop)
      ? [`null subspaces ${number(row.nullMean)}, 95th percentile ${number(row.nullTop)}`]
      : row.isControl
        ? []
        : ['no null']),
    ...MARKS.flatMap(({ field, text }) => told(text, row[field])),
  ].join('\n')
}
