/**
 * Bounds the batches in flight. `add` copies what it must and queues; its promise is the back-pressure.
 * A caller that awaits it, or keeps a few going, never meets the bound; one that ignores the promises is
 * refused with an error rather than allowed to fill the memory with copies.
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
