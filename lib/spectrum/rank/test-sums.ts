/** The rank test of accumulated prompts, for every group of heads and contrast, on the kept rows. */

import type { KeptDraws } from '../../covariance/checkpointing.js'
import type { HeadGroup } from '../../covariance/site-plan.js'
import { groupsOf, type Sums } from '../../covariance/sums.js'
import { QkError } from '../../errors.js'
import type { RankTest } from '../../store/rank-test.js'
import type { RankRule } from '../../store/result.js'
import type { Hypothesis, NullData } from './exchange/null-source.js'
import { journaled } from './journaled.js'
import { SumsNullData } from './null-data.js'
import { DEFAULT_ALPHA, DEFAULT_DRAWS, MOST_DRAWS } from './rules.js'
import { screenSubjects, type TestSettings, type TestSubject, testHeads, unitWarnings } from './test-heads.js'

export type PermutationRule = Extract<RankRule, { rule: 'permutation' }>

export interface TestSumsOptions {
  rule: PermutationRule
  /** Whether the interaction is decomposed and tested. */
  center: boolean
  seed: number
  /** Stores the draws. */
  kept?: KeptDraws
  signal?: AbortSignal
  onProgress?: (progress: { done: number; total: number }) => void
}

/** The test of one contrast of a group of heads. */
export interface GroupTest {
  /** Results by head of the group. */
  tests: RankTest[]
  /** The matrices to decompose in place of ΔC: for label sequences the difference from D̄, [heads, d, d]. */
  matrices?: Float64Array
}

/**
 * Results by group of heads, then by contrast. Errors: ERR_ARGUMENT if no rows were kept, ERR_FEW_UNITS, ERR_FILE,
 * ERR_ABORTED, those of backends.
 */
export async function testSums(
  sums: Sums,
  options: TestSumsOptions,
): Promise<{ tests: Map<HeadGroup, (GroupTest | undefined)[]>; warnings: string[] }> {
  const found = new Map<HeadGroup, (GroupTest | undefined)[]>()
  for (const group of groupsOf(sums)) {
    found.set(
      group,
      sums.contrasts.map(() => undefined),
    )
  }
  const subjects = subjectsOfSums(sums, options)
  const settings = settingsOf(sums, options)
  const warnings = [...new Set(unitWarnings(subjects, settings.alpha))]
  const tests = await testHeads(subjects, settings)
  for (const [i, { group, contrast, data, labels }] of subjects.entries()) {
    const matrices = labels ? await observedMatrices(data, settings.hypothesis, options.signal) : undefined
    found.get(group)![contrast] = { tests: tests[i], matrices }
  }
  return { tests: found, warnings }
}

/**
 * Makes the first draws of the test, which are most of its work, for the groups of heads and contrasts that `takes`
 * chooses by number. `kept` stores the draws for `testSums`. Errors: as `testSums`.
 */
export async function drawFirst(
  sums: Sums,
  options: TestSumsOptions & { kept: KeptDraws },
  takes: (subject: number) => boolean,
): Promise<void> {
  const subjects = subjectsOfSums(sums, options)
  const settings = settingsOf(sums, options)
  unitWarnings(subjects, settings.alpha)
  await screenSubjects(
    subjects.filter((_, i) => takes(i)),
    settings,
  )
}

function settingsOf(sums: Sums, { rule, center, seed, signal, onProgress }: TestSumsOptions): TestSettings {
  const { alpha = DEFAULT_ALPHA, draws = DEFAULT_DRAWS, mostDraws = MOST_DRAWS } = rule
  const hypothesis: Hypothesis = center ? 'interaction' : 'effect'
  return { hypothesis, alpha, draws, mostDraws, seed, backend: sums.backend.choice, signal, onProgress }
}

type SumsSubject = TestSubject & { group: HeadGroup; contrast: number; labels: boolean }

/** Errors: ERR_ARGUMENT. */
function subjectsOfSums(sums: Sums, { seed, kept }: TestSumsOptions): SumsSubject[] {
  const nullData = new SumsNullData(sums, seed)
  const subjects: SumsSubject[] = []
  for (const [g, group] of groupsOf(sums).entries()) {
    if (!group.kept) {
      throw notKept()
    }
    for (const [contrast, name] of sums.contrasts.entries()) {
      const made = nullData.of(group, group.kept, contrast)
      const interaction = sums.estimator !== 'sum'
      const data = kept ? journaled(made.data, { group: g, contrast, seed }, kept) : made.data
      subjects.push({ name, data, interaction, group, contrast, labels: made.labels })
    }
  }
  return subjects
}

function notKept(): QkError {
  return new QkError('ERR_ARGUMENT', 'the rank rule "permutation" needs rows, and nullBytes: 0 kept none', {
    hint: 'Accumulate with nullBytes above 0, or describe ΔC with the rule energy or fixed.',
  })
}

async function observedMatrices(data: NullData, hypothesis: Hypothesis, signal?: AbortSignal) {
  const source = await data.source(hypothesis)
  try {
    return await source.observed(
      Array.from({ length: data.heads }, (_, h) => h),
      signal,
    )
  } finally {
    source.release()
  }
}
