/** The test of rank of accumulated prompts: of every group of heads and contrast, from the rows that were kept. */

import type { RunCheckpoint } from '../../covariance/checkpointing.js'
import type { HeadGroup } from '../../covariance/site-plan.js'
import type { Sums } from '../../covariance/sums.js'
import { QkError } from '../../errors.js'
import type { RankTest } from '../../store/rank-test.js'
import type { RankRule } from '../../store/result.js'
import type { Hypothesis, NullData } from './exchange/null-source.js'
import { journaled } from './journaled.js'
import { SumsNullData } from './null-data.js'
import { DEFAULT_ALPHA, DEFAULT_DRAWS, MOST_DRAWS } from './rules.js'
import { type TestSubject, testHeads, unitWarnings } from './test-heads.js'

export type PermutationRule = Extract<RankRule, { rule: 'permutation' }>

export interface TestSumsOptions {
  rule: PermutationRule
  /** Whether the interaction is decomposed and tested. */
  center: boolean
  seed: number
  /** Keeps what has been drawn. */
  checkpoint?: RunCheckpoint
  signal?: AbortSignal
  onProgress?: (progress: { done: number; total: number }) => void
}

/** Of one contrast of a group of heads. */
export interface GroupTest {
  /** By head of the group. */
  tests: RankTest[]
  /** What is decomposed in place of ΔC: of label sequences the difference from D̄, [heads, d, d]. */
  matrices?: Float64Array
}

/**
 * By group of heads, then by contrast. Errors: ERR_ARGUMENT where no rows were kept, ERR_FEW_UNITS, ERR_FILE,
 * ERR_ABORTED, those of backends.
 */
export async function testSums(
  sums: Sums,
  { rule, center, seed, checkpoint, signal, onProgress }: TestSumsOptions,
): Promise<{ tests: Map<HeadGroup, (GroupTest | undefined)[]>; warnings: string[] }> {
  const { alpha = DEFAULT_ALPHA, draws = DEFAULT_DRAWS, mostDraws = MOST_DRAWS } = rule
  const hypothesis: Hypothesis = center ? 'interaction' : 'effect'
  const nullData = new SumsNullData(sums, seed)
  const found = new Map<HeadGroup, (GroupTest | undefined)[]>()
  const subjects: (TestSubject & { group: HeadGroup; contrast: number; labels: boolean })[] = []
  for (const [g, group] of sums.sites.flatMap(({ groups }) => groups).entries()) {
    if (!group.kept) {
      throw notKept()
    }
    found.set(
      group,
      sums.contrasts.map(() => undefined),
    )
    for (const [contrast, name] of sums.contrasts.entries()) {
      const made = nullData.of(group, group.kept, contrast)
      const interaction = sums.estimator !== 'sum'
      const data = checkpoint ? journaled(made.data, { group: g, contrast, seed }, checkpoint) : made.data
      subjects.push({ name, data, interaction, group, contrast, labels: made.labels })
    }
  }
  const warnings = [...new Set(unitWarnings(subjects, alpha))]
  const settings = { hypothesis, alpha, draws, mostDraws, seed, signal, onProgress }
  const tests = await testHeads(subjects, { ...settings, backend: sums.backend.name })
  for (const [i, { group, contrast, data, labels }] of subjects.entries()) {
    const matrices = labels ? await observedMatrices(data, hypothesis, signal) : undefined
    found.get(group)![contrast] = { tests: tests[i], matrices }
  }
  return { tests: found, warnings }
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
