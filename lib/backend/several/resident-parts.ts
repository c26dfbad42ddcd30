/** An uploaded tensor whose heads several devices have divided among them. */

import { QkError } from '../../errors.js'
import { counted } from '../../validate.js'
import type { ResidentHandle, RowTensor } from '../backend.js'
import { type HeadRange, sameRanges } from './head-split.js'

export class ResidentParts {
  constructor(
    /** Of every device, in order. */
    readonly ranges: readonly HeadRange[],
    /** Of every device; undefined where its range is empty. */
    readonly parts: readonly (ResidentHandle | undefined)[],
  ) {}
}

/**
 * The parts of a tensor that was uploaded to several devices.
 * Errors: ERR_ARGUMENT if they were divided in another way than `wanted`.
 */
export function partsOf(tensor: RowTensor, wanted: readonly HeadRange[], name: string): ResidentParts {
  const parts = tensor.resident
  if (!(parts instanceof ResidentParts)) {
    throw new QkError('ERR_ARGUMENT', `${name} was uploaded to another backend`)
  }
  if (sameRanges(parts.ranges, wanted)) {
    return parts
  }
  const shown = (ranges: readonly HeadRange[]) => ranges.map(({ count }) => count).join(' + ')
  throw new QkError(
    'ERR_ARGUMENT',
    `the ${counted(tensor.shape[2], 'head')} of ${name} lie on the devices as ${shown(parts.ranges)}, they are needed as ${shown(wanted)}`,
    {
      hint: 'Upload queries with the number of key heads, `keyHeads`, so that groups of heads stay together.',
    },
  )
}
