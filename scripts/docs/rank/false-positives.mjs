/** False-positive rates with their intervals, a line for each kind of data. */

import { scaleLinear } from 'd3'
import { BLUE, GREEN, GRID, INK, legend, line, n, ORANGE, picture, SOFT, text, WIDTH } from './chart.mjs'

const ROW = 27
const MOST = 0.2
const SIDES = { effect: BLUE, interaction: GREEN }

export function falsePositivePicture(done) {
  const kinds = [...new Set(done.map(({ cell }) => cell.kind))]
  const box = { left: 276, right: WIDTH - 16, top: 76, bottom: 76 + ROW * kinds.length }
  const x = scaleLinear([0, MOST], [box.left, box.right])
  const ticks = [0, 0.05, 0.1, 0.15, 0.2]
  const parts = [
    legend(16, 54, [
      ['effect', BLUE],
      ['interaction', GREEN],
      ['exception, named in the text', ORANGE],
    ]),
    ticks.flatMap((tick) => [
      line(x(tick), box.top, x(tick), box.bottom, tick === 0.05 ? INK : GRID, tick === 0.05 ? 1.5 : 1),
      text(x(tick), box.bottom + 17, `${tick}`, { anchor: 'middle', fill: SOFT, size: 12 }),
    ]),
    text(
      (box.left + box.right) / 2,
      box.bottom + 38,
      'share of null data sets with p ≤ 0.05; bars are 95% intervals',
      {
        anchor: 'middle',
      },
    ),
    kinds.map((kind, at) =>
      row(
        kind,
        done.filter(({ cell }) => cell.kind === kind),
        box.top + ROW * at,
        x,
        box,
      ),
    ),
  ]
  return picture(box.bottom + 52, 'False positives at 0.05, by kind of data', parts)
}

function row(kind, done, top, x, box) {
  const marks = done.flatMap(({ cell, result }) => {
    return cell.params.hypotheses.map((hypothesis) => ({
      ...result[hypothesis],
      colour: cell.exceptions.includes(hypothesis) ? ORANGE : SIDES[hypothesis],
    }))
  })
  const step = (ROW - 7) / marks.length
  return [
    line(16, top, box.right, top),
    text(box.left - 10, top + ROW / 2 + 4.5, kind, { anchor: 'end', size: 12.5 }),
    marks.map(({ rate, interval: [low, high], colour }, i) => {
      const y = top + 3.5 + step * (i + 0.5)
      if (low > MOST) {
        return text(box.right - 4, y + 4, `${rate.toFixed(2)} →`, { anchor: 'end', fill: colour, size: 12 })
      }
      const bar = line(x(low), y, x(Math.min(high, MOST)), y, colour, 1.3)
      return `${bar}<circle cx="${n(x(rate))}" cy="${n(y)}" r="2.4" fill="${colour}"/>`
    }),
  ]
}
