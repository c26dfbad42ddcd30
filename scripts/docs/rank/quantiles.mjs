/** Quantiles of p-values under the null against those of a uniform distribution. */

import { scaleLog } from 'd3'
import { PARTS } from '../../calibrate/false-positives.mjs'
import { axes, BLUE, curve, GREY, INK, legend, line, ORANGE, picture, text, WIDTH } from './chart.mjs'

const LOW = 0.005

export function quantilePicture(done) {
  const box = { left: 70, right: WIDTH - 20, top: 72, bottom: 470 }
  const x = scaleLog([LOW, 1], [box.left, box.right]).clamp(true)
  const y = scaleLog([LOW, 1], [box.bottom, box.top]).clamp(true)
  const all = done.flatMap(({ cell, result }) => {
    return cell.params.hypotheses.map((hypothesis) => ({
      ...result[hypothesis],
      exception: cell.exceptions.includes(hypothesis),
    }))
  })
  const drawn = (rows, colour, width, opacity) =>
    rows.map(({ quantiles }) => {
      return curve(
        PARTS.map((part, i) => [x(part), y(quantiles[i])]),
        colour,
        width,
        opacity,
      )
    })
  const rows = all.filter(({ exception }) => !exception)
  const ticks = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]
  const parts = [
    legend(16, 52, [
      [`${rows.filter(({ sets }) => sets >= 1000).length} figures of 1,000 data sets`, BLUE],
      [`${rows.filter(({ sets }) => sets < 1000).length} of 100 to 500`, GREY],
      ['exceptions', ORANGE],
    ]),
    axes({
      x,
      y,
      box,
      xTicks: ticks,
      yTicks: ticks,
      xName: 'part of the data sets',
      yName: 'largest p among them',
    }),
    drawn(
      all.filter(({ exception }) => exception),
      ORANGE,
      1.6,
      0.9,
    ),
    drawn(
      rows.filter(({ sets }) => sets < 1000),
      GREY,
      1,
      0.7,
    ),
    drawn(
      rows.filter(({ sets }) => sets >= 1000),
      BLUE,
      1,
      0.5,
    ),
    line(x(LOW), y(LOW), x(1), y(1), INK, 1.5, '6 4'),
    text(x(0.012), y(0.42), 'estimator sum, unequal sets', { size: 12, fill: BLUE }),
  ]
  return picture(522, 'p-values where there is nothing to find (dashed: uniform)', parts)
}
