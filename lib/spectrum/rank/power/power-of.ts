/**
 * The power of the rank test: the probability of finding an effect, and the number of units (usually prompts) that
 * this needs.
 */

import { QkError } from '../../../errors.js'
import { checkInteger, checkNumber, checkOptions } from '../../../validate.js'
import { DEFAULT_ALPHA } from '../rules.js'
import { type Power, tablePower, tableRange } from './power-table.js'

/** The effect that a rank test should find, and the family of tests. */
export interface EffectOptions {
  /**
   * Correlation between two coordinates: of the query along the effect's query direction, and of the difference of a
   * positive and a negative key along its key direction. Above 0 and below 1.
   */
  strength: number
  /** Head dimension d. */
  headDim: number
  /** Number of heads and contrasts tested together, default 1. */
  heads?: number
  /**
   * Number of them that have an effect, default 1. The Benjamini-Hochberg procedure then tests each at about alpha R /
   * m.
   */
  effects?: number
}

/** The effect, and the available number of units. */
export interface PowerOptions extends EffectOptions {
  /** Number of units of exchange, with one term each. */
  units: number
}

/** The effect, and the desired power. */
export interface UnitsOptions extends EffectOptions {
  /** Desired power, default 0.8. */
  power?: number
}

/** Power of the rank test for an effect. */
export interface PowerAnswer {
  /** Probability that the head is discovered, interpolated between simulations. */
  power: number
  /** Whether the effect is stronger than any simulated one. The power is then at least this. */
  atLeast: boolean
  /** Level at which one head is tested. */
  level: number
}

/** Number of units that the rank test needs. */
export interface UnitsAnswer {
  /** Number of units of exchange (usually prompts), with one term each. */
  units: number
  /** Whether the fewest simulated units already have the power. Fewer may then be enough. */
  atMost: boolean
  /** Level at which one head is tested. */
  level: number
}

const EFFECT = { strength: true, headDim: true, heads: true, effects: true } satisfies Record<
  keyof EffectOptions,
  true
>
const POWER = { ...EFFECT, units: true } satisfies Record<keyof PowerOptions, true>
const UNITS = { ...EFFECT, power: true } satisfies Record<keyof UnitsOptions, true>

/**
 * Probability of finding `effect` with this many units, at alpha = 0.05, if ΔC has one direction in Gaussian noise.
 * Errors: ERR_ARGUMENT (also outside the simulated range), ERR_TYPE, ERR_NON_FINITE.
 */
export function powerOf(options: PowerOptions): PowerAnswer {
  checkOptions(options, POWER, 'powerOf')
  const { units } = options
  const level = checkEffect(options)
  const [fewest, most] = tableRange().units
  checkInteger(units, 'units', 1)
  if (units < fewest || units > most) {
    throw outside(`units is ${units}`, `${fewest} to ${most} units`)
  }
  return { ...within(units, options, level), level }
}

/**
 * The fewest units with which `effect` is found with the desired power. Errors: ERR_ARGUMENT (also if no simulated
 * number of units has that power), ERR_TYPE, ERR_NON_FINITE.
 */
export function unitsFor(options: UnitsOptions): UnitsAnswer {
  checkOptions(options, UNITS, 'unitsFor')
  const { power: wanted = 0.8 } = options
  checkNumber(wanted, 'power')
  if (!(wanted > 0 && wanted < 1)) {
    throw new QkError('ERR_ARGUMENT', `power is ${wanted}, expected a probability above 0 and below 1`)
  }
  const level = checkEffect(options)
  const [fewest, most] = tableRange().units
  const enough = (units: number) => within(units, options, level).power >= wanted
  if (enough(fewest)) {
    return { units: fewest, atMost: true, level }
  }
  if (!enough(most)) {
    const { power } = within(most, options, level)
    throw outside(
      `a power of ${wanted} takes more than ${most} units (they have ${power.toFixed(2)})`,
      `${fewest} to ${most} units`,
    )
  }
  let [low, high] = [fewest, most]
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (enough(middle)) {
      high = middle
    } else {
      low = middle
    }
  }
  return { units: high, atMost: false, level }
}

/** The level at which one head is tested. */
function checkEffect({ strength, headDim, heads = 1, effects = 1 }: EffectOptions): number {
  checkNumber(strength, 'strength')
  if (!(strength > 0 && strength < 1)) {
    throw new QkError('ERR_ARGUMENT', `strength is ${strength}, expected a correlation above 0 and below 1`)
  }
  checkInteger(headDim, 'headDim', 1)
  checkInteger(heads, 'heads', 1)
  checkInteger(effects, 'effects', 1, heads)
  const range = tableRange()
  const [smallest, largest] = range.headDim
  if (headDim < smallest || headDim > largest) {
    throw outside(`headDim is ${headDim}`, `dimensions ${smallest} to ${largest}`)
  }
  if (strength > range.largestStrength) {
    throw outside(`strength is ${strength}`, `correlations up to ${range.largestStrength}`)
  }
  const level = (DEFAULT_ALPHA * effects) / heads
  const [least] = range.level
  if (level < least * (1 - 1e-9)) {
    throw outside(
      `${effects} of ${heads} heads with an effect are tested at a level of ${Number(level.toPrecision(2))}`,
      `levels down to ${least}`,
    )
  }
  return Math.max(level, least)
}

function within(units: number, { strength, headDim }: EffectOptions, level: number): Power {
  const power = tablePower(units, strength, headDim, level)
  if (power) {
    return power
  }
  throw outside(`strength ${strength} with ${units} units at headDim ${headDim}`, 'no effect as strong there')
}

function outside(what: string, simulated: string): QkError {
  return new QkError('ERR_ARGUMENT', `${what}; simulated were ${simulated}`, {
    hint: 'Power is interpolated between simulations and not extrapolated; `npm run calibrate` in a checkout makes them.',
  })
}
