/** How much of each head's scores the features explain together. */

import * as Plot from '@observablehq/plot'
import { colour } from '../shared/theme.js'
import { figure, frame } from './figure.js'

export function explained(own, index) {
  const rows = () =>
    Object.entries(own.heads)
      .map(([head, { energy, share }]) => ({
        head,
        ...energy,
        ...Object.fromEntries(Object.entries(share).map(([name, value]) => [`share of ${name}`, value.mean])),
      }))
      .sort((a, b) => b.mean - a.mean)
  return figure({
    id: () => `explained-${index + 1}`,
    title: () => 'Energy of the scores explained',
    caption: () =>
      `1 less the energy of the rest over that of the scores, all ${own.rows} rows together, with 95% bootstrap intervals over prompts.`,
    draw: (width) =>
      frame({
        width,
        height: 46 + 26 * Object.keys(own.heads).length,
        ...{ marginLeft: 64, marginRight: 24, marginBottom: 36, marginTop: 6 },
        x: {
          ...{ domain: [Math.min(0, ...rows().map((r) => r.low ?? 0)), 1], grid: true, tickFormat: '.0%' },
          ...{ label: 'explained', labelAnchor: 'center', labelArrow: 'none', ticks: 5 },
        },
        y: { domain: rows().map((r) => r.head), label: null, tickSize: 0, padding: 0.25 },
        marks: [
          Plot.barX(rows(), { y: 'head', x: 'mean', fill: colour('accent') }),
          Plot.ruleY(
            rows().filter((r) => r.low !== null),
            { y: 'head', x1: 'low', x2: 'high', stroke: colour('ink'), strokeWidth: 2 },
          ),
          Plot.ruleX([0], { stroke: colour('ink') }),
        ],
      }),
    rows,
  })
}
