/** Colours and symbols of points by their label: both tell labels apart, so that either is enough. */

import { colour, featureColour } from '../../shared/theme.js'

/** Labels with a colour of their own, at most; the rarest of more go together. */
const MOST_LABELS = 10
const OTHER = 'other'
const UNLABELLED = 'no label'
/** Colours that are told apart. */
const COLOURS = 7
/** Of the labels in turn. */
export const SYMBOLS = ['circle', 'square', 'triangle', 'diamond', 'star', 'wye', 'cross', 'asterisk']
/** The same in legends, as classes of the style. */
export const SHAPES = {
  circle: 'dot',
  square: 'square',
  triangle: 'triangle',
  diamond: 'diamond',
  star: 'star',
  wye: 'wye',
  cross: 'plus',
  asterisk: 'star',
  times: 'cross',
}

const natural = new Intl.Collator('en', { numeric: true }).compare

/** The name that a point goes under, and the look of each name. */
export function looks(points) {
  const labelled = points.some((p) => p.label !== null)
  const nameOf = (p) => (labelled ? (p.label ?? UNLABELLED) : p.role)
  const counts = new Map()
  for (const p of points) {
    counts.set(nameOf(p), (counts.get(nameOf(p)) ?? 0) + 1)
  }
  counts.delete(UNLABELLED)
  const common = [...counts].sort((a, b) => b[1] - a[1]).map(([name]) => name)
  const named = common.slice(0, common.length > MOST_LABELS ? MOST_LABELS - 1 : MOST_LABELS).sort(natural)
  const rest = { fill: colour('rest'), symbol: 'circle' }
  const known = new Map(
    named.map((name, i) => [name, { fill: featureColour(i % COLOURS), symbol: SYMBOLS[i % SYMBOLS.length] }]),
  )
  const short = (p) => {
    const name = nameOf(p)
    return known.has(name) || name === UNLABELLED ? name : OTHER
  }
  return { labelled, of: (p) => ({ name: short(p), ...(known.get(short(p)) ?? rest) }) }
}

export function pointLegend(points) {
  const { labelled, of } = looks(points)
  const names = new Map(points.map((p) => [of(p).name, of(p)]))
  const last = [UNLABELLED, OTHER]
  const order = [...names.values()].sort(
    (a, b) => last.indexOf(a.name) - last.indexOf(b.name) || natural(a.name, b.name),
  )
  const roles = new Set(points.map((p) => p.role))
  return [
    ...order.map(({ name, fill, symbol }) => ({
      text: name,
      fill,
      shape: SHAPES[symbol],
    })),
    ...(labelled && roles.has('positive') && roles.has('negative')
      ? [
          { text: 'positive', fill: colour('muted'), shape: 'dot' },
          { text: 'negative', fill: colour('muted'), shape: 'dot', hollow: true },
        ]
      : []),
  ]
}
