/** Scores token by token as stacked parts, negative ones below zero, with their sum as a line. */

import * as Plot from '@observablehq/plot'
import { colour, featureColour, inkOn } from '../shared/theme.js'
import { frame } from './figure.js'
import { readable } from './tokens.js'

/** What no feature holds. */
export const REST = 'rest'

/** What the colours mean. */
export const stackKey = (features) => [
  ...features.map((name, i) => ({ text: `${i + 1} ${name}`, fill: featureColour(i) })),
  { text: REST, fill: colour('rest') },
  { text: 'full score', fill: colour('ink'), shape: 'line' },
]

const LEAST = 17
const HEIGHT = 330

/**
 * `rows` have `token`, `part` and `value`; `total` is the score of each token, `words` their text; `features` the
 * named parts, of which REST is what remains.
 */
export function stackedScores(width, rows, total, words, features) {
  const keys = total.map((_, i) => i)
  const order = [...features, REST]
  const fill = (part) => (part === REST ? colour('rest') : featureColour(features.indexOf(part)))
  const [low, high] = extent(rows, total)
  const tall = (12 * (high - low)) / HEIGHT
  const totals = keys.map((i) => ({ token: i, value: total[i] }))
  return frame({
    width: Math.max(width, 60 + keys.length * LEAST),
    height: HEIGHT,
    marginLeft: 44,
    marginRight: 12,
    marginBottom: 64,
    x: {
      type: 'band',
      domain: keys,
      label: null,
      tickSize: 0,
      padding: 0.12,
      tickRotate: -60,
      tickFormat: (i) => clipped(readable(words[i] ?? '')),
    },
    y: { grid: true, label: 'score', labelArrow: 'none', nice: true },
    marks: [
      Plot.barY(rows, {
        ...Plot.stackY({ x: 'token', y: 'value', z: 'part', order }),
        fill: { value: (r) => fill(r.part), scale: null },
      }),
      // The number of the feature, where its part is tall enough: told without colour.
      Plot.text(rows, {
        ...Plot.stackY({ x: 'token', y: 'value', z: 'part', order }),
        text: (r) => (r.part !== REST && Math.abs(r.value) > tall ? `${features.indexOf(r.part) + 1}` : ''),
        fill: { value: (r) => inkOn(fill(r.part)), scale: null },
        fontSize: 10,
      }),
      Plot.ruleY([0], { stroke: colour('ink') }),
      Plot.line(totals, { x: 'token', y: 'value', stroke: colour('ink'), strokeWidth: 1.25 }),
      Plot.dot(totals, {
        x: 'token',
        y: 'value',
        r: 2.5,
        fill: colour('ink'),
        stroke: colour('surface'),
        strokeWidth: 0.75,
      }),
      Plot.barY(totals, {
        x: 'token',
        y1: (r) => extent(rows, total, r)[0],
        y2: (r) => extent(rows, total, r)[1],
        fill: colour('ink'),
        fillOpacity: 0,
        inset: -2,
        className: 'hits',
      }),
    ],
  })
}

/** The whole height of the drawing, so that a token is hit wherever in its column. */
function extent(rows, total) {
  let [low, high] = [0, 0]
  const sums = total.map(() => [0, 0])
  for (const { token, value } of rows) {
    sums[token][value < 0 ? 0 : 1] += value
  }
  for (const [below, above] of sums) {
    low = Math.min(low, below)
    high = Math.max(high, above)
  }
  return [low, high]
}

const clipped = (word) => (word.length > 10 ? `${word.slice(0, 9)}…` : word)
