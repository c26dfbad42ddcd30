/**
 * Bounds the batches in flight. `add` copies its arrays if it must and queues the batch; its promise gives
 * back-pressure. A caller that awaits the promise, or keeps a few going, never meets the bound. A caller that ignores
 * the promises gets an error, instead of filling the memory with copies.
 */

import { QkError } from '../errors.js'

export const MAX_IN_FLIGHT = 16

export class Slots {
  #taken = 0

  async hold<T>(work: () => Promise<T>): Promise<T> {
    if (this.#taken >= MAX_IN_FLIGHT) {
      throw new QkError('ERR_ARGUMENT', `${MAX_IN_FLIGHT} batches are in flight already`, {
        hint: 'await the promise of add() before adding more',
      })
    }
    this.#taken++
    try {
      return await work()
    } finally {
      this.#taken--
    }
  }
}
