/** Points along their principal components: a strip for one, a plane for two, a pair of planes for more. */

import * as Plot from '@observablehq/plot'
import * as d3 from 'd3'
import { number, percent } from '../../shared/dom.js'
import { colour } from '../../shared/theme.js'
import { figure, frame } from '../figure.js'
import { canvas, svg } from '../svg.js'
import { looks, pointLegend, SYMBOLS } from './looks.js'

/** `cloud()` gives `points` with `at`, `label`, `role` and `token`, and the `shares` of the axes; or a sentence. */
export function planes({ id, title, caption, cloud, more = () => ({}) }) {
  const points = () => cloud().points ?? []
  return figure({
    id,
    title,
    caption,
    key: () =>
      points().length > 0
        ? [...pointLegend(points()), { text: 'centroid', fill: colour('ink'), shape: 'cross' }]
        : [],
    draw: (width) => (points().length === 0 ? cloud() : drawn(width, cloud())),
    rows: () =>
      points().map(({ at, label, role, token }) => ({
        ...more(),
        label: label ?? '',
        ...(role && { role }),
        ...(token && { token: token.token, position: token.position, where: token.where }),
        ...Object.fromEntries(at.map((value, i) => [`pc${i + 1}`, value])),
      })),
    height: 300,
  })
}

function drawn(width, { points, shares }) {
  if (shares.length === 1) {
    return strip(width, points, shares)
  }
  if (shares.length < 4) {
    return plane(width, points, shares, [0, 1])
  }
  const narrow = width < 480
  const each = narrow ? width : Math.floor((width - 16) / 2)
  const pair = [plane(each, points, shares, [0, 1]), plane(each, points, shares, [2, 3])]
  const [high] = pair.map((one) => Number(one.getAttribute('height')))
  pair[1].setAttribute(narrow ? 'y' : 'x', narrow ? high + 8 : each + 16)
  return canvas(width, narrow ? 2 * high + 8 : high, svg('g', {}, pair))
}

const axis = (shares, i) => ({
  label: `PC${i + 1} (${percent(shares[i], 0)})`,
  labelAnchor: 'center',
  labelArrow: 'none',
  ticks: 4,
  nice: true,
})

/** Both axes in one scale, so that distances are those of the subspace. */
function plane(width, points, shares, [a, b]) {
  const span = (i) => {
    const values = points.map(({ at }) => at[i])
    return [values.reduce((x, y) => Math.min(x, y)), values.reduce((x, y) => Math.max(x, y))]
  }
  const [xs, ys] = [span(a), span(b)]
  const inner = width - 64
  const reach = Math.max(xs[1] - xs[0], ys[1] - ys[0], 1e-9) * 1.08
  const domain = ([low, high], size) => [(low + high - size) / 2, (low + high + size) / 2]
  const height = Math.min(inner, 300)
  return frame({
    width,
    height: height + 52,
    marginLeft: 50,
    marginRight: 14,
    marginTop: 10,
    marginBottom: 42,
    x: { ...axis(shares, a), nice: false, domain: domain(xs, (reach * inner) / height) },
    y: { ...axis(shares, b), nice: false, domain: domain(ys, reach), labelAnchor: 'top' },
    symbol: { domain: SYMBOLS, range: SYMBOLS },
    marks: dots(
      points,
      (p) => p.at[a],
      (p) => p.at[b],
    ),
  })
}

/** One axis; labels apart from each other, so that points do not hide one another. */
function strip(width, points, shares) {
  const names = [...new Set(points.map(({ label }) => label ?? 'no label'))].sort()
  return frame({
    width,
    height: 62 + 26 * names.length,
    marginLeft: 96,
    marginRight: 14,
    marginTop: 6,
    marginBottom: 42,
    x: { ...axis(shares, 0), grid: true },
    y: { type: 'point', domain: names, label: null, tickSize: 0 },
    symbol: { domain: SYMBOLS, range: SYMBOLS },
    marks: dots(
      points,
      (p) => p.at[0],
      (p) => p.label ?? 'no label',
    ),
  })
}

function dots(points, x, y) {
  const { labelled, of } = looks(points)
  const solid = (p) => !labelled || p.role !== 'negative'
  const common = { x, y, symbol: (p) => of(p).symbol, r: 3.6 }
  const paint = { value: (p) => of(p).fill, scale: null }
  return [
    Plot.dot(points.filter(solid), {
      ...common,
      fill: paint,
      stroke: colour('surface'),
      strokeWidth: 0.6,
      className: 'points',
    }),
    Plot.dot(
      points.filter((p) => !solid(p)),
      { ...common, fill: 'none', stroke: paint, strokeWidth: 1.5, className: 'points' },
    ),
    ...(labelled
      ? [
          Plot.dot(centroids(points, x, y), {
            x: 'x',
            y: 'y',
            symbol: 'times',
            r: 6,
            stroke: colour('ink'),
            strokeWidth: 2.5,
            className: 'centroids',
          }),
        ]
      : []),
    Plot.tip(points, Plot.pointer({ x, y, title: tipText, fill: colour('surface'), maxRadius: 20 })),
  ]
}

function centroids(points, x, y) {
  const groups = d3.group(points, ({ label }) => label)
  const mean = (list, of) =>
    typeof of(list[0]) === 'number' ? list.reduce((sum, p) => sum + of(p), 0) / list.length : of(list[0])
  return [...groups]
    .filter(([label]) => label !== null)
    .map(([label, list]) => ({ label, x: mean(list, x), y: mean(list, y) }))
}

function tipText({ label, role, token, at }) {
  const what = [label, role].filter((text) => text !== null && text !== undefined).join(', ')
  return [
    what,
    ...(token ? [`…${token.before}[${token.token}]${token.after}…`, token.where] : []),
    ...at.map((value, i) => `PC${i + 1} ${number(value)}`),
  ].join('\n')
}
