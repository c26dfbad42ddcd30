/** The calibrated rank test on plain arrays: how many components of ΔC exceed noise (docs/method.md, Rank). */

import { QkError, throwIfAborted } from '../../errors.js'
import type { RankTest } from '../../store/rank-test.js'
import { checkChoice, checkFlag, checkInteger, checkOptions } from '../../validate.js'
import type { Hypothesis } from './exchange/null-source.js'
import { checkLevel, DEFAULT_ALPHA, DEFAULT_DRAWS, MOST_DRAWS } from './rules.js'
import { type SubjectOptions, subjectsOf } from './subjects.js'
import { testHeads, unitWarnings } from './test-heads.js'

/** Options of `testRank`. */
export interface TestRankOptions extends SubjectOptions {
  /** The hypothesis that determines the ranks; default 'effect'. The first component gets a p under both. */
  hypothesis?: Hypothesis
  /** Level, below 1; default 0.05. */
  alpha?: number
  /** Number of draws of every head; default 199. Heads with few exceedances have up to `mostDraws`. */
  draws?: number
  /** Most draws of a head with few exceedances; default 99,999. */
  mostDraws?: number
  /** Called with the number of finished steps of the test and the total. */
  onProgress?: (progress: { done: number; total: number }) => void
}

const OPTIONS = {
  q: true,
  k: true,
  terms: true,
  labels: true,
  contrasts: true,
  units: true,
  hypothesis: true,
  estimator: true,
  alpha: true,
  draws: true,
  mostDraws: true,
  seed: true,
  exchangeable: true,
  backend: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof TestRankOptions, true>

/** Results of the rank test for every contrast and head. */
export interface RankTests {
  /** Names of the contrasts, in the order of the arrays. */
  contrasts: string[]
  /** Number of query heads. */
  heads: number
  /** P-value of the first component under the requested hypothesis, [contrasts, heads]. */
  p: Float64Array
  /**
   * Number of components at the level of discovered heads, alpha R / m. 0 if a head is not discovered, [contrasts,
   * heads].
   */
  ranks: Int32Array
  /** Largest observed singular value, [contrasts, heads]. */
  observed: Float64Array
  /** Full results, [contrasts][heads]. */
  tests: RankTest[][]
  /** Warnings: too few units. */
  warnings: string[]
}

/**
 * Tests every head and contrast. False discoveries are controlled over all of them together.
 *
 * Errors: ERR_TYPE, ERR_ARGUMENT (also shared keys declared exchangeable), ERR_SHAPE, ERR_RANGE, ERR_EMPTY_SET,
 * ERR_NON_FINITE, ERR_FEW_UNITS, ERR_OUT_OF_MEMORY, ERR_ABORTED.
 */
export async function testRank(options: TestRankOptions): Promise<RankTests> {
  checkOptions(options, OPTIONS, 'testRank')
  const { hypothesis = 'effect', estimator = 'per-query', seed = 0, signal, onProgress } = options
  const { alpha = DEFAULT_ALPHA, draws = DEFAULT_DRAWS, mostDraws = MOST_DRAWS } = options
  checkChoice(hypothesis, 'hypothesis', ['effect', 'interaction'])
  checkInteger(seed, 'seed', 0)
  checkLevel(alpha)
  checkInteger(draws, 'draws', 1, MOST_DRAWS)
  checkInteger(mostDraws, 'mostDraws', draws, 10_000_000)
  if (options.exchangeable !== undefined) {
    checkFlag(options.exchangeable, 'exchangeable')
  }
  if (hypothesis === 'interaction' && estimator === 'sum') {
    throw new QkError(
      'ERR_ARGUMENT',
      "the estimator 'sum' has no means to centre: 'interaction' cannot be tested",
      {
        hint: "Use 'per-query' or 'per-pair'.",
      },
    )
  }
  throwIfAborted(signal)
  const { contrasts, subjects, backend } = await subjectsOf(options, draws)
  const warnings = unitWarnings(subjects, alpha)
  const tests = await testHeads(subjects, {
    hypothesis,
    alpha,
    draws,
    mostDraws,
    seed,
    backend,
    signal,
    onProgress,
  })
  const flat = tests.flat()
  return {
    contrasts,
    heads: subjects[0].data.heads,
    p: Float64Array.from(flat, (test) => test.p[hypothesis] ?? Number.NaN),
    ranks: Int32Array.from(flat, ({ rank }) => rank),
    observed: Float64Array.from(flat, ({ statistic }) => statistic),
    tests,
    warnings,
  }
}
