/**
 * Memory of the scores of a synthetic batch, checked before they are computed. It grows with the square of the length.
 */

import { QkError } from '../../errors.js'
import { layoutOf, type ModelInput } from './inputs.js'
import type { GivenSizes } from './probe.js'
import type { WireTensor } from './session.js'
import { axisKey } from './sizes/solve.js'

/**
 * Most score entries of one head over all layers. Masks and factors of scores are read whole, with 4 bytes per entry.
 */
const MOST_ENTRIES = 2 ** 28

/**
 * Refuses lengths from the file or the caller that are too long to try. Lengths chosen by the probe itself are not
 * checked. Errors: ERR_UNSUPPORTED_MODEL.
 */
export function checkScores(
  inputs: readonly ModelInput[],
  feeds: Readonly<Record<string, WireTensor>>,
  layers: number,
  given: GivenSizes = new Map(),
): void {
  for (const input of inputs) {
    const axis = positionsOf(input, given)
    if (axis === undefined) {
      continue
    }
    const { dims } = feeds[input.name]
    const positions = dims[axis]
    const sequences = dims.length === 1 ? 1 : dims[1 - axis]
    const entries = sequences * positions ** 2 * layers
    if (entries <= MOST_ENTRIES) {
      continue
    }
    throw new QkError(
      'ERR_UNSUPPORTED_MODEL',
      `the input "${input.name}" has ${sequences} x ${positions} positions, whose scores in ${layers} layers are too many to try the model on`,
      { hint: 'Give shorter ones, or export the model with free axes.' },
    )
  }
}

/** The axis of positions, if its length is given: of token ids, or of [batch, positions, features]. */
function positionsOf(input: ModelInput, given: GivenSizes): 0 | 1 | undefined {
  const { name, role, shape, type } = input
  if (role === 'ids') {
    return shape.length === 1 ? 0 : layoutOf(input).position
  }
  if (role !== 'custom' || shape.length !== 3 || !type.startsWith('float')) {
    return undefined
  }
  const isGiven = (axis: number) => {
    const d = shape[axis]
    return typeof d === 'string' && given.has(axisKey(name, axis, d))
  }
  return typeof shape[1] === 'number' || isGiven(1) || isGiven(0) ? 1 : undefined
}
