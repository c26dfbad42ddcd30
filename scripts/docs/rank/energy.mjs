/** What the energy rule says of noise, against the dimension. */

import { scaleLinear } from 'd3'
import { axes, BLUE, curve, dot, legend, line, ORANGE, picture, SOFT, text, WIDTH } from './chart.mjs'

export function energyPicture(done) {
  const box = { left: 70, right: WIDTH - 24, top: 72, bottom: 340 }
  const x = scaleLinear([0, 136], [box.left, box.right])
  const y = scaleLinear([0, 130], [box.bottom, box.top])
  const points = done.map(({ cell, result }) => [x(cell.params.d), y(result.energyMedian)])
  const parts = [
    legend(16, 52, [
      ['energy rule, 99%: median answer', ORANGE],
      ['the test at 0.05: median answer', BLUE],
    ]),
    axes({
      x,
      y,
      box,
      xTicks: [0, 16, 32, 64, 96, 128],
      yTicks: [0, 20, 40, 60, 80, 100, 120],
      xName: 'head dimension d',
      yName: 'rank',
    }),
    line(x(0), y(0), x(128), y(128), SOFT, 1, '5 4'),
    text(x(100), y(106), 'all d dimensions', { anchor: 'end', fill: SOFT, size: 12 }),
    curve(points, ORANGE),
    points.map(([a, b]) => dot(a, b, ORANGE, 4)),
    done.map(({ result }, i) => {
      return text(
        points[i][0] + 4,
        points[i][1] + (result.energyMedian < 10 ? -8 : 18),
        `${result.energyMedian}`,
        { fill: ORANGE, size: 12 },
      )
    }),
    curve(
      done.map(({ cell, result }) => [x(cell.params.d), y(result.testedMedian)]),
      BLUE,
    ),
    done.map(({ cell, result }) => dot(x(cell.params.d), y(result.testedMedian), BLUE, 4)),
  ]
  return picture(392, 'The rank of noise: no rank is there', parts)
}
