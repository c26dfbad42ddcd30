/**
 * Writes the table of power that comes with the package out of the results of a calibration.
 *
 *   node scripts/calibrate/power-table.mjs
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { LEVELS } from './power.mjs'

const at = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const { cells } = JSON.parse(readFileSync(at('bench/results/calibration.json'), 'utf8'))
const curves = new Map()
for (const [id, { params, result }] of Object.entries(cells)) {
  if (!id.startsWith('power/')) {
    continue
  }
  const { d: headDim, units, strength } = params
  const name = `${headDim} ${units}`
  const curve = curves.get(name) ?? { headDim, units, sets: result.sets, points: [] }
  curve.points.push([strength, ...result.power])
  curves.set(name, curve)
}
const lines = [...curves.values()]
  .sort((a, b) => a.headDim - b.headDim || a.units - b.units)
  .map(({ points, ...curve }) => JSON.stringify({ ...curve, points: rising(points) }))
const made =
  'scripts/calibrate/power-table.mjs from bench/results/calibration.json: shares of simulated data sets with p at most each level, made to rise with the strength from the level'
writeFileSync(
  at('lib/bundled/power.json'),
  `{"made": ${JSON.stringify(made)},\n"levels": ${JSON.stringify(LEVELS)},\n"curves": [\n${lines.join(',\n')}\n]}\n`,
)

/** Power is never below the level and does not fall with the strength: neighbours out of order are replaced by their mean (isotonic regression). */
function rising(points) {
  const sorted = points.sort(([a], [b]) => a - b)
  const columns = LEVELS.map((level, i) => {
    return pooled(sorted.map((point) => Math.max(level, point[i + 1])))
  })
  return sorted.map(([strength], i) => [strength, ...columns.map((column) => Number(column[i].toFixed(4)))])
}

function pooled(values) {
  const blocks = []
  for (const value of values) {
    blocks.push({ sum: value, count: 1 })
    while (blocks.length > 1 && mean(blocks.at(-2)) > mean(blocks.at(-1))) {
      const last = blocks.pop()
      blocks.at(-1).sum += last.sum
      blocks.at(-1).count += last.count
    }
  }
  return blocks.flatMap((block) => Array(block.count).fill(mean(block)))
}

function mean({ sum, count }) {
  return sum / count
}
