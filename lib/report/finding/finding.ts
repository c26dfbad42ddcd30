/**
 * States a finding in sentences that claim no more than the numbers show: what a head attends to, what its subspace
 * moves compared with its controls, and how certain that is.
 */

import type { KeyNames } from '../../contrast/prompt.js'
import { type HeadInfo, headDimOf } from '../../store/result-info.js'
import { type ControlledMeasure, type EditFigures, editFigures, type NamedEdits } from './edit-figures.js'
import { type FoundHeads, leastP, rankedFindings, type Standing, standingOf } from './evidence.js'
import { plural, pValue, share } from './words.js'

export { headDimOf } from '../../store/result-info.js'

/** A finding about one contrast of one head. */
export interface Finding {
  /** Name of the head. */
  head: string
  /** Name of the contrast. */
  contrast: string
  /** Evidence for it. */
  standing: Standing
  /** Sentences in order of importance. The first can stand alone. */
  sentences: string[]
  /** Figures of the edit of this feature in this head, if it was measured. */
  edits: EditFigures | undefined
}

/** The finding about one head and contrast, from a result and the documents beside it. */
export function findingOf(
  result: FoundHeads,
  documents: readonly NamedEdits[],
  head: string,
  contrast: string,
): Finding {
  const found = result.heads[head][contrast]
  const standing = standingOf(found)
  const edits = editFigures(documents, result, head, contrast)
  const names = keyNames(result, contrast)
  const nobody = standing === 'not significant' && !anyDiscovered(result, contrast)
  const sentences = [
    ...(nobody ? nobodySentences(result, contrast, head) : []),
    ...(!nobody && standing === 'not significant' ? [notThisHead(found, head, contrast)] : []),
    attentionSentence(found, head, names),
    ...(isDiscovery(standing) || standing === 'untested'
      ? editSentences(edits, edits ? keyNames(result, edits.termsOf) : names, headDimOf(result, head))
      : []),
    standing === 'not significant' ? undefined : testSentence(result, found, standing, contrast),
  ].filter((text): text is string => text !== undefined)
  return { head, contrast, standing, sentences, edits }
}

/** The finding at the top of a page. */
export function openingFinding(result: FoundHeads, documents: readonly NamedEdits[]): Finding {
  const [best] = rankedFindings(result, documents)
  return findingOf(result, documents, best.head, best.contrast)
}

/** Names of a contrast's keys from the prompt set; otherwise the terms of the field. */
export function keyNames(result: FoundHeads, contrast: string): KeyNames {
  const { example } = (result.prompts.definitions[contrast] ?? {}) as {
    example?: { rule?: { keyNames?: KeyNames } }
  }
  return (
    example?.rule?.keyNames ?? {
      positive: `the positive keys of “${contrast}”`,
      negative: 'a negative key',
    }
  )
}

const isDiscovery = (standing: Standing) => standing === 'replicated' || standing === 'discovered'

const anyDiscovered = ({ heads }: FoundHeads, contrast: string) =>
  Object.values(heads).some((own) => own[contrast]?.test?.discovered)

/** Sentences if no head passes the test: that fact first, with the least p of all. */
function nobodySentences(result: FoundHeads, contrast: string, selected: string): string[] {
  const tested = rankedFindings(result, [], [contrast]).filter(({ found }) => found.test)
  const best = tested.reduce((a, b) => (leastP(b.found) < leastP(a.found) ? b : a))
  const { test } = best.found
  const own =
    best.head === selected ? '' : ` ${selected} has p = ${pValue(leastP(result.heads[selected][contrast]))}.`
  return [
    `No head is shown to read “${contrast}”: with random labels the strongest of ${plural(tested.length, 'head')} does as well.`,
    `The least p is ${pValue(leastP(best.found))}, of ${best.head}; corrected for all heads and contrasts that is q = ${pValue(test!.q)}, where ${pValue(alphaOf(result))} would be needed.${own}`,
  ]
}

const notThisHead = (found: HeadInfo, head: string, contrast: string): string =>
  `${head} is not shown to read “${contrast}”: random labels do as well (p = ${pValue(leastP(found))}, q = ${pValue(found.test!.q)}).`

function attentionSentence({ attention }: HeadInfo, head: string, names: KeyNames): string | undefined {
  if (!attention) {
    return `The attention of ${head} was not measured.`
  }
  const { positive, perPositive, perNegative } = attention
  const each = perPositive < positive * 0.999 ? ` (${share(perPositive)} on each)` : ''
  return `${head} puts ${share(positive)} of its attention on ${names.positive}${each}, and ${share(perNegative)} on ${names.negative}.`
}

function editSentences(
  edits: EditFigures | undefined,
  names: KeyNames,
  headDim: number | undefined,
): string[] {
  if (!edits) {
    return []
  }
  const { rank, moved, isNew, prompts, heads, originBefore } = edits
  const dimensions = `${rank}${headDim ? ` of its ${plural(headDim, 'dimension')}` : ' dimensions'}`
  const where =
    edits.document === undefined
      ? `on the half of the prompts that did not fit them, both ways round (${plural(prompts, 'prompt')})`
      : `on ${plural(prompts, isNew ? 'new prompt' : 'prompt')}${isNew ? '' : ' that it was fitted on'}`
  const together = heads.length > 1 ? `, with ${plural(heads.length, 'head')} edited together,` : ''
  if (!moved) {
    return originBefore < 0.05 || !edits.origin
      ? [
          `There is nothing to move: the key to be edited has ${share(originBefore)} of the attention ${where}.`,
        ]
      : [lossSentence(edits, edits.origin, dimensions, where, names)]
  }
  const doing = EXCHANGES[edits.edit] ?? `Editing (${edits.edit})`
  const beside = [
    moved.nullMean === null || moved.nullP95 === null
      ? 'no null subspaces were measured'
      : `subspaces of random labels move ${share(moved.nullMean)} (95th percentile ${share(moved.nullP95)})`,
    moved.keys === null
      ? ''
      : `the ${plural(rank, 'direction')} in which keys differ most ${share(moved.keys)}`,
    moved.random === null ? '' : `random dimensions ${share(moved.random)}`,
  ].filter(Boolean)
  return [
    `${doing} ${dimensions}${together} moves ${share(moved.value)} of that attention to ${names.negative} ${where}; ${listed(beside)}.${verdictOf(moved.exceedsNull)}`,
  ]
}

const EXCHANGES: Record<string, string> = {
  swap: 'Exchanging',
  patch: 'Replacing',
  ablate: 'Ablating',
  scale: 'Scaling',
}

/** What the origin lost, if no target was named. */
function lossSentence(
  { edit, originBefore, originAfter }: EditFigures,
  origin: ControlledMeasure,
  dimensions: string,
  where: string,
  names: KeyNames,
): string {
  const nulls =
    origin.nullMean === null || origin.nullP95 === null
      ? 'no null subspaces were measured'
      : `subspaces of random labels change it by ${share(origin.nullMean)} (95th percentile ${share(origin.nullP95)})`
  return `${EXCHANGES[edit] ?? 'Editing'} ${dimensions} changes the attention on ${names.positive} from ${share(originBefore)} to ${share(originAfter!)} ${where}; ${nulls}.${verdictOf(origin.exceedsNull)}`
}

function verdictOf(exceedsNull: boolean | null): string {
  if (exceedsNull === null) {
    return ' Without enough null subspaces this is no evidence.'
  }
  return exceedsNull
    ? ''
    : ' That is no more than random labels do: these dimensions are not shown to matter.'
}

function testSentence(
  result: FoundHeads,
  { test, rank }: HeadInfo,
  standing: Standing,
  contrast: string,
): string {
  if (!test) {
    return `Nothing was tested: the rank ${rank} comes from the rule “${result.rank.rule}”, which random labels pass too.`
  }
  const tests = Object.values(result.heads).reduce((sum, own) => sum + Object.keys(own).length, 0)
  const definition = result.prompts.definitions[contrast]
  const unit = definition?.prompts === test.units ? 'prompt' : 'group of prompts'
  const units = plural(test.units, unit, unit === 'prompt' ? 'prompts' : 'groups of prompts')
  const p = `p = ${pValue(test.p[test.hypothesis] ?? 1)} over ${units}, q = ${pValue(test.q)} after correction for ${plural(tests, 'test')}`
  const { replication } = test
  const ratio = replication
    ? `: what one half of the prompts shows has ${share(replication.ratio)} of its strength in the other half`
    : ''
  if (standing === 'replicated') {
    return `Random labels hardly give such a subspace (${p}), and it replicated${ratio}.`
  }
  if (standing === 'discovered') {
    return `Random labels hardly give such a subspace (${p}), but it did not replicate between halves of the prompts.`
  }
  return `Unresolved (${p}): ${plural(test.unresolvedNeeds!, 'draw')} would be needed to decide.`
}

const alphaOf = ({ rank }: FoundHeads): number => (rank.rule === 'permutation' ? (rank.alpha ?? 0.05) : 0.05)

const listed = (parts: readonly string[]): string =>
  parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}`
