/** Interface between accumulation and a checkpoint; `openCheckpoint` makes one that writes to a folder. */

import type { BatchPlace } from '../capture/run.js'
import type { Sums } from './sums.js'

/** Stores null values. */
export interface KeptDraws {
  /** Null values by a key that identifies all their inputs: those of an earlier run, or else computed and stored. */
  draws(key: string, compute: () => Promise<Float64Array>): Promise<Float64Array>
}

/** Saves the progress of a run, so that a killed run can be resumed. */
export interface RunCheckpoint extends KeptDraws {
  /** Restores the sums of an earlier run of the same work into fresh sums. Returns the number of finished batches. */
  begin(sums: Sums): Promise<number>
  /** Called after each batch, when its rows are in the sums. */
  batchDone(sums: Sums, place: BatchPlace): Promise<void>
  /** Called after the last batch. */
  captured(sums: Sums): Promise<void>
}
