/** Attention on the keys of one term: before an edit, after it, and after the same edit in null subspaces. */

import * as Plot from '@observablehq/plot'
import { percent } from '../../shared/dom.js'
import { colour } from '../../shared/theme.js'
import { frame } from '../figure.js'

/** A row a key: `label`, `before`, and where there was an edit `after` and `nullAfter`. */
export function markedKeys(width, rows) {
  const narrow = width < 420
  const edited = rows.some(({ after }) => after !== null)
  const fill = (name) => colour(name)
  return frame({
    width,
    height: 46 + 26 * rows.length,
    marginLeft: narrow ? 92 : 130,
    marginRight: 20,
    marginTop: 4,
    marginBottom: 38,
    x: {
      domain: [0, 1],
      tickFormat: '.0%',
      ticks: narrow ? 3 : 5,
      grid: true,
      label: 'attention',
      labelAnchor: 'center',
      labelArrow: 'none',
    },
    y: { type: 'band', domain: rows.map((r) => r.label), label: null, tickSize: 0, padding: 0.35 },
    marks: [
      Plot.barX(rows, { y: 'label', x: 'before', fill: fill('rest'), insetTop: 2, insetBottom: 2 }),
      edited
        ? Plot.link(rows, {
            y: 'label',
            x1: 'before',
            x2: 'after',
            stroke: fill('accent'),
            strokeWidth: 1.5,
            markerEnd: 'none',
          })
        : undefined,
      edited
        ? Plot.dot(rows, { y: 'label', x: 'after', r: 5.5, fill: fill('accent'), stroke: fill('surface') })
        : undefined,
      Plot.dot(
        rows.filter((r) => r.nullAfter !== null),
        {
          y: 'label',
          x: 'nullAfter',
          r: 5.5,
          symbol: 'diamond',
          fill: fill('surface'),
          stroke: fill('ink'),
          strokeWidth: 1.5,
        },
      ),
      Plot.ruleX([0], { stroke: fill('ink') }),
      Plot.tip(
        rows,
        Plot.pointerY({
          y: 'label',
          x: 'before',
          title: (r) =>
            [
              r.label,
              `before ${percent(r.before)}`,
              ...(r.after === null ? [] : [`after the edit ${percent(r.after)}`]),
              ...(r.nullAfter === null ? [] : [`after it in null subspaces ${percent(r.nullAfter)}`]),
            ].join('\n'),
          fill: fill('surface'),
        }),
      ),
    ],
  })
}

/** What its marks mean. */
export const markedKey = (edited, nulls) => [
  { text: 'before', fill: colour('rest') },
  ...(edited ? [{ text: 'after the edit', fill: colour('accent'), shape: 'dot' }] : []),
  ...(nulls
    ? [{ text: 'after it in null subspaces (mean)', fill: colour('ink'), shape: 'diamond', hollow: true }]
    : []),
]
