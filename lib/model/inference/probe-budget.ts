/** Time limit for trying a model. Loading is not limited; runs on synthetic batches get some seconds. */

const MILLISECONDS = 5000

export class ProbeBudget {
  static readonly seconds = MILLISECONDS / 1000

  private spent = 0

  /** Runs a function to its end and charges its time to the budget. */
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
