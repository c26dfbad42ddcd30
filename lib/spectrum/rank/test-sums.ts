/** The test of rank of accumulated prompts: of every group of heads and contrast, from the rows that were kept. */

import type { Sums } from '../../covariance/accumulate.js'
import type { KeptLabels, KeptRows, KeptTerms } from '../../covariance/kept/kept-rows.js'
import type { HeadGroup } from '../../covariance/site-plan.js'
import { QkError } from '../../errors.js'
import { unitKey } from '../../math/unit-hash.js'
import type { RankTest } from '../../store/rank-test.js'
import type { RankRule } from '../../store/result.js'
import { FlipData } from './exchange/flip-source.js'
import { labelUnits } from './exchange/label-sequences.js'
import { LabelData } from './exchange/label-source.js'
import type { Hypothesis, NullData } from './exchange/null-source.js'
import { DEFAULT_ALPHA, DEFAULT_DRAWS, MOST_DRAWS } from './rules.js'
import { type TestSubject, testHeads, unitWarnings } from './test-heads.js'

export type PermutationRule = Extract<RankRule, { rule: 'permutation' }>

export interface TestSumsOptions {
  rule: PermutationRule
  /** Whether the interaction is decomposed and tested. */
  center: boolean
  seed: number
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
  { rule, center, seed, signal, onProgress }: TestSumsOptions,
): Promise<{ tests: Map<HeadGroup, (GroupTest | undefined)[]>; warnings: string[] }> {
  const { alpha = DEFAULT_ALPHA, draws = DEFAULT_DRAWS, mostDraws = MOST_DRAWS } = rule
  const hypothesis: Hypothesis = center ? 'interaction' : 'effect'
  const rows = new LastRead()
  const found = new Map<HeadGroup, (GroupTest | undefined)[]>()
  const subjects: (TestSubject & { group: HeadGroup; contrast: number; labels: boolean })[] = []
  for (const group of sums.sites.flatMap(({ groups }) => groups)) {
    if (!group.kept) throw notKept()
    found.set(
      group,
      sums.contrasts.map(() => undefined),
    )
    for (const [contrast, name] of sums.contrasts.entries()) {
      const made = groupData(sums, group, group.kept, contrast, seed, rows)
      const interaction = sums.estimator !== 'sum'
      subjects.push({ name, data: made.data, interaction, group, contrast, labels: made.labels })
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

/** Errors: ERR_ARGUMENT where a contrast has both kinds of rules. */
function groupData(
  sums: Sums,
  { covariance: { backend, spec } }: HeadGroup,
  kept: KeptRows,
  contrast: number,
  seed: number,
  rows: LastRead,
): { data: NullData; labels: boolean } {
  const { heads, kvHeads, headDim, estimator } = spec
  const { units: ids, sequences, sequenceIds } = kept.contrast(contrast)
  refuseMixed(sums, contrast)
  const sizes = { heads, kvHeads, headDim }
  if (sequences.length > 0) {
    const load = () => rows.read(kept, contrast) as Promise<KeptLabels>
    const units = labelUnits(sequences, sequenceIds)
    return { data: new LabelData(sums.backend.name, sizes, load, units, seed), labels: true }
  }
  const counterfactual = sums.prompts.definitions[sums.contrasts[contrast]].rule === 'counterfactual'
  const unitKeys = ids.map(unitKey)
  const load = async () => {
    const terms = (await rows.read(kept, contrast)) as KeptTerms
    // Units of other contrasts have no rows here, and are passed over.
    return { ...terms, unitKeys: terms.unitIds.map(unitKey), estimator, counterfactual }
  }
  const info = { ...sizes, units: unitKeys, symmetric: counterfactual }
  return { data: new FlipData(backend, info, load, seed), labels: false }
}

/** Terms and label sequences are exchanged in different ways: there is no test of their sum. */
function refuseMixed(sums: Sums, contrast: number): void {
  const name = sums.contrasts[contrast]
  const { terms, labelled } = sums.prompts.definitions[name]
  if (terms === 0 || labelled.queries + labelled.keys === 0) return
  throw new QkError('ERR_ARGUMENT', `the contrast "${name}" has prompts with terms and prompts with labels`, {
    hint: 'Give them two names: the test of rank exchanges them in different ways.',
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

/** The rows that were read last, since a test reads the same ones several times. */
class LastRead {
  #of: { kept: KeptRows; contrast: number; rows: Promise<KeptTerms | KeptLabels> } | undefined

  read(kept: KeptRows, contrast: number): Promise<KeptTerms | KeptLabels> {
    if (this.#of?.kept !== kept || this.#of.contrast !== contrast) {
      this.#of = { kept, contrast, rows: kept.read(contrast) }
    }
    return this.#of.rows
  }
}
