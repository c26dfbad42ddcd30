/** Memory of captured rows, which one batch after another fills. */

import type { WireTensor } from '../model/inference/session.js'

/** Runs of the model whose memory is kept: of a batch that is in use, and of the one after it. */
const MOST_FREE = 2

/**
 * Shared memory for captured rows, used again when their batch has been dealt with. Left to the garbage collector it
 * would pile up, since each batch leaves little else to collect.
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
