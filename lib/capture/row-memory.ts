/** Memory for captured rows, reused by one batch after another. */

import type { WireTensor } from '../model/inference/session.js'

/** Number of runs whose memory is kept: those of the batch in use, and of the next one. */
const MOST_FREE = 2

/**
 * Shared memory for captured rows, reused once a batch is done. Left to the garbage collector, it would pile up, since
 * each batch leaves little other garbage.
 */
export class RowMemory {
  readonly #free: Record<string, SharedArrayBuffer>[] = []

  take(): Record<string, SharedArrayBuffer> | undefined {
    return this.#free.pop()
  }

  giveBack(results: readonly Record<string, WireTensor>[]): void {
    for (const tensors of results) {
      if (this.#free.length >= MOST_FREE) {
        return
      }
      const buffers = Object.entries(tensors).map(
        ([name, { data }]) => [name, data.buffer as SharedArrayBuffer] as const,
      )
      this.#free.push(Object.fromEntries(buffers))
    }
  }
}
