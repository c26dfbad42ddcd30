/** Horizontal grouped bars with intervals: names of what is compared are long. */

import * as Plot from '@observablehq/plot'
import * as d3 from 'd3'
import { number } from '../shared/dom.js'
import { colour } from '../shared/theme.js'
import { frame } from './figure.js'

const BAR = 13
/** Below this, numbers on the axis are in powers of ten: their zeros would run into each other. */
const SMALL = 0.01

const CONTROLS = ['null', 'keys', 'mean query', 'random', 'complement']

const isControl = (kind) => CONTROLS.includes(kind)

/**
 * Of rows with `edited`, the group's name, `mean`, and an interval `low` to `high` where there is one; `truth`
 * is drawn as a tick. `group` names the field that tells the bars of one edit apart, `fills` has a colour for each.
 * Controls are paler.
 */
export function groupedBars(width, rows, group, fills, x) {
  const edits = [...new Set(rows.map((r) => r.edited))]
  const groups = Object.keys(fills).filter((name) => rows.some((r) => r[group] === name))
  const most = Math.max(...rows.map((r) => Math.abs(r.high ?? r.mean)))
  const narrow = width < 560
  return frame({
    width,
    height: 50 + edits.length * (groups.length * BAR + (groups.length > 1 ? 14 : 18)),
    marginLeft: narrow ? 116 : 220,
    marginRight: 28,
    marginBottom: 36,
    marginTop: 6,
    fy: { domain: edits, label: null, padding: 0.25 },
    y: { domain: groups, axis: null, padding: 0.08 },
    x: {
      grid: true,
      labelAnchor: 'center',
      labelArrow: 'none',
      nice: !x.domain,
      ticks: narrow ? 4 : 8,
      ...(most < SMALL && { ticks: narrow ? 3 : 6, tickFormat: shortest }),
      ...x,
    },
    marks: [
      Plot.axisFy({
        tickFormat: shortened,
        anchor: 'left',
        lineWidth: narrow ? 9 : 15,
        fontSize: narrow ? 11 : 12,
        tickSize: 0,
      }),
      Plot.barX(rows, {
        fy: 'edited',
        y: group,
        x: 'mean',
        fill: { value: (r) => fills[r[group]], scale: null },
        fillOpacity: (r) => (isControl(r.kind) ? 0.4 : 1),
      }),
      Plot.ruleY(
        rows.filter((r) => typeof r.low === 'number' && typeof r.high === 'number'),
        { fy: 'edited', y: group, x1: 'low', x2: 'high', stroke: colour('ink'), strokeWidth: 1.5 },
      ),
      Plot.tickX(
        rows.filter((r) => typeof r.truth === 'number'),
        { fy: 'edited', y: group, x: 'truth', stroke: colour('ink'), strokeWidth: 2 },
      ),
      Plot.ruleX([0], { stroke: colour('ink') }),
      Plot.tip(
        rows,
        Plot.pointer({
          fy: 'edited',
          y: group,
          x: 'mean',
          title: (r) => tipText(r, group),
          fill: colour('surface'),
        }),
      ),
    ],
  })
}

const shortest = (value) => (value === 0 ? '0' : d3.format('.3~e')(value))

/** Unions of many subspaces by their first and last. */
function shortened(name) {
  const parts = name.split(' + ')
  return parts.length > 4 ? `${parts[0]} + … + ${parts.at(-1)} (${parts.length})` : name
}

function tipText(row, group) {
  const range = typeof row.low === 'number' ? `\n95%: ${number(row.low)} to ${number(row.high)}` : ''
  const truth = typeof row.truth === 'number' ? `, true ${row.truth}` : ''
  return `${row.edited}\n${row[group]} ${number(row.mean)}${truth}${range}`
}
