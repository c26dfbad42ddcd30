/**
 * Relates the axes of attention to the token ids: which of the ids' axes are positions, and which rows are tokens.
 */

import type { SiteCandidate } from '../candidate.js'
import type { ModelInput } from '../inference/inputs.js'
import type { CapturePoint } from './axes.js'
import type { Probe, ProbeValues } from './site-probe.js'

/**
 * Whether the ids are [position, sequence]. The number of keys then follows the first axis of the ids and not the
 * second. `probe` has fed the ids as [sequence, position].
 */
export function idsAreTurned(inputs: readonly ModelInput[], { running, values, more }: Probe): boolean {
  const ids = inputs.find(({ role }) => role === 'ids')
  if (ids?.shape.length !== 2 || !more.positions) {
    return false
  }
  const votes = running.map((candidate): number => {
    const keys = (of: ProbeValues) => keyCount(candidate, of)
    const own = keys(values)
    if (keys(more.positions!) !== own) {
      return -1
    }
    const follows = more.sequences ? keys(more.sequences) !== own : ids.shape[0] === own
    return follows ? 1 : 0
  })
  return votes.reduce((a, b) => a + b, 0) > 0
}

/** Number of entries over which the softmax normalises. */
function keyCount({ softmaxInput, softmaxAxis }: SiteCandidate, values: ProbeValues): number {
  return values.shapes(softmaxInput)!.at(softmaxAxis) ?? 0
}

/** Number of rows of one side that are not tokens, or the reason why its rows cannot be matched to tokens. */
export function otherRows(
  { tensor, axes }: CapturePoint,
  { values, more }: Probe,
  what: 'queries' | 'keys',
): number | { reason: string } {
  const at = axes.indexOf('pos')
  const rows = (of: ProbeValues) => (at < 0 ? 1 : of.shapes(tensor)![at])
  const tokens = values.sizes.positions!
  const count = rows(values)
  const longer = more.positions
  if (longer && rows(longer) - longer.sizes.positions! !== count - tokens) {
    const [a, b] = [`${count} for ${tokens} tokens`, `${rows(longer)} for ${longer.sizes.positions}`]
    return { reason: `its ${what} are not those of the tokens: there are ${a}, ${b}` }
  }
  if (count < tokens) {
    return { reason: `its ${what} are fewer than the tokens: ${count} for ${tokens}` }
  }
  if (more.sequences && !followsSequences(tensor, axes, values, more.sequences)) {
    return { reason: `its ${what} do not follow the sequences of a batch` }
  }
  return count - tokens
}

/** Whether the axis of the sequences, or of sequences and heads folded, grows with the number of sequences. */
function followsSequences(
  tensor: string,
  axes: CapturePoint['axes'],
  values: ProbeValues,
  more: ProbeValues,
): boolean {
  const at = axes.findIndex((axis) => axis === 'batch' || axis === 'fold')
  if (at < 0) {
    return false
  }
  const perSequence = (of: ProbeValues) => of.shapes(tensor)![at] / of.sizes.sequences
  return perSequence(values) === perSequence(more)
}
