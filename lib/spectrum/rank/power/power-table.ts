/** The simulated power of the test of `effect`, with interpolation between its cells. */

import { bundledPower, type PowerCurve } from '../../../bundled/files.js'

/** Power that counts as certain. Beyond the strongest simulated effect it can only be higher. */
const CERTAIN = 0.98

/** `atLeast`: the effect is stronger than any simulated one, and the power is at least this. */
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
 * Signal-to-noise measure of an effect. For a small strength it is strength sqrt(units / d), since s_1 of noise grows
 * as sqrt(d / units). In place of the squared correlation r² it uses -ln(1 - r²), twice the mutual information of the
 * two coordinates, which brings the curves of 50 and of 3,000 units closest together.
 */
function distance(strength: number, units: number, headDim: number): number {
  return Math.sqrt((-Math.log1p(-(strength ** 2)) * units) / headDim)
}

/**
 * Power at a point inside the table's range. Undefined unless simulations lie on both sides of it.
 *
 * Between simulated units and dimensions, power is interpolated at equal `distance`, on which alone it nearly depends,
 * linearly in log units and in log d. Along a curve it is interpolated in the logit of the power, and between levels
 * in the logarithm of the level.
 */
export function tablePower(
  units: number,
  strength: number,
  headDim: number,
  level: number,
): Power | undefined {
  const { levels, curves } = bundledPower()
  const x = distance(strength, units, headDim)
  const dims = around([...new Set(curves.map((curve) => curve.headDim))], headDim)
  const ofDim = dims.map(({ at: d, weight }) => {
    const own = curves.filter((curve) => curve.headDim === d)
    const at = (n: number) => onCurve(own.find((curve) => curve.units === n)!, x, levels, level)
    const sizes = own.map((curve) => curve.units)
    const known = around(sizes, units).flatMap(({ at: n, weight: w }) => {
      const power = at(n)
      return power ? [{ ...power, weight: w }] : []
    })
    if (known.length > 0) {
      return { ...mixed(known), weight }
    }
    // Curves of few units end at the largest strength. Beyond it, the curve of the next larger number of units is
    // used.
    const next = sizes.filter((n) => n > units).find((n) => at(n) !== undefined)
    return next === undefined ? undefined : { ...at(next)!, weight }
  })
  return ofDim.every((power) => power !== undefined) ? mixed(ofDim) : undefined
}

/** The neighbours of a value among others, with weights that sum to 1, linear in the logarithm. */
function around(values: readonly number[], value: number): { at: number; weight: number }[] {
  const below = Math.max(...values.filter((x) => x <= value))
  const above = Math.min(...values.filter((x) => x >= value))
  if (below === above) {
    return [{ at: below, weight: 1 }]
  }
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
    // Without an effect, the power equals the level.
    const curve = [[0, at], ...points.map((p) => [distance(p[0], units, headDim), p[column]])]
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
  if (after === 0) {
    return { power: curve[0][1], atLeast: false }
  }
  const [[x0, y0], [x1, y1]] = [curve[after - 1], curve[after]]
  const part = (x - x0) / (x1 - x0)
  if (part > 1 - 1e-9) {
    return { power: y1, atLeast: false }
  }
  return { power: expit(logit(y0) + part * (logit(y1) - logit(y0))), atLeast: false }
}

/** Power curves are steep in the middle and flat at their ends; their logits are nearly straight. */
function logit(power: number): number {
  const inside = Math.min(Math.max(power, 1e-3), 1 - 1e-3)
  return Math.log(inside / (1 - inside))
}

function expit(x: number): number {
  return 1 / (1 + Math.exp(-x))
}

function mixed(powers: readonly (Power & { weight: number })[]): Power {
  const total = powers.reduce((sum, { weight }) => sum + weight, 0)
  const power = powers.reduce((sum, one) => sum + (one.power * one.weight) / total, 0)
  return { power, atLeast: powers.every(({ atLeast }) => atLeast) }
}
