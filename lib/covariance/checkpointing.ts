/** What accumulation tells whoever keeps its progress; `openCheckpoint` makes the one that writes to a folder. */

import type { BatchPlace } from '../capture/run.js'
import type { Sums } from './sums.js'

/** Keeps null values. */
export interface KeptDraws {
  /** Null values by a key that says everything that they depend on: those of an earlier run, or computed and kept. */
  draws(key: string, compute: () => Promise<Float64Array>): Promise<Float64Array>
}

/** Keeps the progress of a run, so that one that is killed goes on where it was. */
export interface RunCheckpoint extends KeptDraws {
  /**
   * Puts back into fresh sums what an earlier run of the same work has done; gives the number of batches that lie behind it.
   */
  begin(sums: Sums): Promise<number>
  /** After each batch, when its rows are in the sums. */
  batchDone(sums: Sums, place: BatchPlace): Promise<void>
  /** After the last batch. */
  captured(sums: Sums): Promise<void>
}
