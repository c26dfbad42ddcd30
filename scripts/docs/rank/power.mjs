/** Power against strength, a panel for each dimension and a curve for each number of units. */

import { scaleLinear } from 'd3'
import { axes, BLUE, curve, dot, GREEN, legend, ORANGE, PURPLE, picture, text } from './chart.mjs'

const COLOURS = ['#8794a1', GREEN, BLUE, PURPLE, ORANGE]
const PANEL = { width: 318, height: 200 }

export function powerPicture(done) {
  const dims = [...new Set(done.map(({ cell }) => cell.params.d))]
  const units = [...new Set(done.map(({ cell }) => cell.params.units))]
  const panels = dims.map((d, i) => {
    const left = 58 + (i % 2) * PANEL.width
    const top = 98 + Math.floor(i / 2) * (PANEL.height + 66)
    return panel(
      done.filter(({ cell }) => cell.params.d === d),
      d,
      units,
      left,
      top,
      i,
    )
  })
  const parts = [
    legend(
      16,
      54,
      units.map((n, i) => [`${n.toLocaleString('en')} units`, COLOURS[i]]),
    ),
    panels,
  ]
  return picture(
    98 + Math.ceil(dims.length / 2) * (PANEL.height + 66),
    'Power of the test of effect at 0.05',
    parts,
  )
}

function panel(done, d, units, left, top, index) {
  const box = { left, right: left + PANEL.width - 34, top, bottom: top + PANEL.height }
  const x = scaleLinear([0, 0.9], [box.left, box.right])
  const y = scaleLinear([0, 1], [box.bottom, box.top])
  return [
    text(box.left, top - 10, `d = ${d}`, { weight: 600 }),
    axes({
      x,
      y,
      box,
      xTicks: [0, 0.2, 0.4, 0.6, 0.8],
      yTicks: [0, 0.2, 0.4, 0.6, 0.8, 1],
      xName: 'strength (correlation)',
      yName: index % 2 === 0 ? 'power' : '',
    }),
    units.map((n, i) => {
      const points = done
        .filter(({ cell }) => cell.params.units === n)
        .map(({ cell, result }) => [x(cell.params.strength), y(result.power[0])])
        .sort(([a], [b]) => a - b)
      return [
        curve([[x(0), y(0.05)], ...points], COLOURS[i]),
        points.map(([a, b]) => dot(a, b, COLOURS[i], 2.8)),
      ]
    }),
  ]
}
