/** How long a model may be tried: loading it takes what it takes, runs on synthetic batches only some seconds. */

const MILLISECONDS = 5000

export class ProbeBudget {
  static readonly seconds = MILLISECONDS / 1000

  private spent = 0

  /** Runs something on the budget's time, to its end. */
  async spend<T>(run: () => Promise<T>): Promise<T> {
    const start = performance.now()
    try {
      return await run()
    } finally {
      this.spent += performance.now() - start
    }
  }

  get isSpent(): boolean {
    return this.spent >= MILLISECONDS
  }
}
