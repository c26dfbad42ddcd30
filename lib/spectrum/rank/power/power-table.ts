/** The simulated power of the test of `effect`, and what lies between its cells. */

import { bundledPower, type PowerCurve } from '../../../bundled/files.js'

/** Power that counts as certain: beyond the strongest simulated effect it can only be higher. */
const CERTAIN = 0.98

/** `atLeast`: the effect is stronger than any that was simulated there, and the power is this or more. */
export interface Power {
  power: number
  atLeast: boolean
}

export interface TableRange {
  headDim: [number, number]
  units: [number, number]
  level: [number, number]
  largestStrength: number
}

export function tableRange(): TableRange {
  const { levels, curves } = bundledPower()
  const ends = (values: number[]): [number, number] => [Math.min(...values), Math.max(...values)]
  return {
    headDim: ends(curves.map(({ headDim }) => headDim)),
    units: ends(curves.map(({ units }) => units)),
    level: ends(levels),
    largestStrength: Math.max(...curves.flatMap(({ points }) => points.map(([strength]) => strength))),
  }
}

/**
 * Power at a place inside the table's range; undefined where no simulation lies on both sides of it.
 *
 * Curves of power against x = strength sqrt(units / d) hardly depend on the units, and little on d: s_1 of noise grows as
 * sqrt(d / units). Between simulated units and dimensions power is therefore interpolated at equal x, linearly in log units
 * and in log d; between levels in the logarithm of the level.
 */
export function tablePower(
  units: number,
  strength: number,
  headDim: number,
  level: number,
): Power | undefined {
  const { levels, curves } = bundledPower()
  const x = strength * Math.sqrt(units / headDim)
  const dims = around([...new Set(curves.map((curve) => curve.headDim))], headDim)
  const ofDim = dims.map(({ at: d, weight }) => {
    const own = curves.filter((curve) => curve.headDim === d)
    const sizes = around(
      own.map((curve) => curve.units),
      units,
    )
    const known = sizes.flatMap(({ at: n, weight: w }) => {
      const power = onCurve(own.find((curve) => curve.units === n)!, x, levels, level)
      return power ? [{ ...power, weight: w }] : []
    })
    // Of few units the curve ends at the largest possible strength; the neighbour's curve then stands for both.
    return known.length === 0 ? undefined : { ...mixed(known), weight }
  })
  return ofDim.every((power) => power !== undefined) ? mixed(ofDim) : undefined
}

/** The neighbours of a value among others, with weights that sum to 1, linear in the logarithm. */
function around(values: readonly number[], value: number): { at: number; weight: number }[] {
  const below = Math.max(...values.filter((x) => x <= value))
  const above = Math.min(...values.filter((x) => x >= value))
  if (below === above) return [{ at: below, weight: 1 }]
  const weight = Math.log(value / below) / Math.log(above / below)
  return [
    { at: below, weight: 1 - weight },
    { at: above, weight },
  ]
}

function onCurve(
  { units, headDim, points }: PowerCurve,
  x: number,
  levels: readonly number[],
  level: number,
): Power | undefined {
  const powers = around(levels, level).map(({ at, weight }) => {
    const column = 1 + levels.indexOf(at)
    // Where there is no effect, the power is the level.
    const curve = [[0, at], ...points.map((p) => [p[0] * Math.sqrt(units / headDim), p[column]])]
    const power = between(curve, x)
    return power && { ...power, weight }
  })
  return powers.every((power) => power !== undefined) ? mixed(powers) : undefined
}

function between(curve: readonly (readonly number[])[], x: number): Power | undefined {
  const after = curve.findIndex(([at]) => at >= x - 1e-9)
  if (after < 0) {
    const [, last] = curve[curve.length - 1]
    return last >= CERTAIN ? { power: last, atLeast: true } : undefined
  }
  if (after === 0) return { power: curve[0][1], atLeast: false }
  const [[x0, y0], [x1, y1]] = [curve[after - 1], curve[after]]
  const part = Math.min(1, (x - x0) / (x1 - x0))
  return { power: y0 + part * (y1 - y0), atLeast: false }
}

function mixed(powers: readonly (Power & { weight: number })[]): Power {
  const total = powers.reduce((sum, { weight }) => sum + weight, 0)
  const power = powers.reduce((sum, one) => sum + (one.power * one.weight) / total, 0)
  return { power, atLeast: powers.every(({ atLeast }) => atLeast) }
}
