/** What scores of a synthetic batch would take, before they are computed: they grow with the square of a length. */

import { QkError } from '../../errors.js'
import { layoutOf, type ModelInput } from './inputs.js'
import type { GivenSizes } from './probe.js'
import type { WireTensor } from './session.js'
import { axisKey } from './sizes/solve.js'

/** Of one head of all layers: masks and factors of scores are read whole, each of 4 bytes. */
const MOST_ENTRIES = 2 ** 28

/**
 * Refuses lengths that the file or the caller says, and that are too long to be tried; lengths that are tried of
 * themselves are not. Errors: ERR_UNSUPPORTED_MODEL.
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

/** The axis of positions, where its length is said: of token ids, or of [batch, positions, features]. */
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
