/** Finds what two results have in common, and warns of what limits their comparison. */

import { isDeepStrictEqual } from 'node:util'
import { QkError, type QkErrorCode } from '../../errors.js'
import type { Result, ResultInfo } from '../../store/result.js'

export interface HeadAndContrast {
  head: string
  contrast: string
}

/** Names of the two results in errors and warnings. */
const NAMES = ['A', 'B'] as const

/**
 * The heads and contrasts that both results have, or the requested ones of them. Errors: ERR_UNKNOWN_HEAD,
 * ERR_UNKNOWN_CONTRAST (not in both), ERR_SHAPE (head dimensions differ).
 */
export function inCommon(
  a: Result,
  b: Result,
  heads: readonly string[] | undefined,
  contrasts: readonly string[] | undefined,
): HeadAndContrast[] {
  const commonHeads = heads
    ? [...new Set(heads.map((name) => nameInBoth(a, b, name)))]
    : a.headNames.filter((name) => b.headNames.includes(name))
  if (commonHeads.length === 0) {
    nothingInCommon('ERR_UNKNOWN_HEAD', 'head', a.headNames, b.headNames)
  }
  const commonContrasts = a.contrastNames.filter((name) => b.contrastNames.includes(name))
  if (commonContrasts.length === 0) {
    nothingInCommon('ERR_UNKNOWN_CONTRAST', 'contrast', a.contrastNames, b.contrastNames)
  }
  const missing = contrasts?.find((name) => !commonContrasts.includes(name))
  if (missing !== undefined) {
    throw new QkError('ERR_UNKNOWN_CONTRAST', `A and B do not both have a contrast "${missing}"`, {
      hint: `Both have ${listed(commonContrasts)}.`,
    })
  }
  const pairs = commonHeads.flatMap((head) =>
    (contrasts ?? commonContrasts).map((contrast) => ({ head, contrast })),
  )
  for (const { head, contrast } of pairs) {
    const [inA, inB] = [a, b].map((result) => result.head(head).contrast(contrast).headDim)
    if (inA === inB) {
      continue
    }
    throw new QkError('ERR_SHAPE', `${head} has the head dimension ${inA} in A and ${inB} in B`, {
      hint: 'Compare results of one model, of copies of it, or of checkpoints of one training.',
    })
  }
  return pairs
}

/** A head by its canonical name. */
function nameInBoth(a: Result, b: Result, name: string): string {
  const [found] = [a, b].map((result, i) => {
    try {
      return result.head(name).name
    } catch (error) {
      if (!(error instanceof QkError)) {
        throw error
      }
      throw new QkError(error.code, `${NAMES[i]} has no head ${name}`, { hint: error.hint })
    }
  })
  return found
}

function nothingInCommon(
  code: QkErrorCode,
  what: string,
  inA: readonly string[],
  inB: readonly string[],
): never {
  throw new QkError(code, `A and B have no ${what} in common`, {
    hint: `A has ${listed(inA)}; B has ${listed(inB)}.`,
  })
}

const MOST_LISTED = 12

function listed(names: readonly string[]): string {
  const shown = names.slice(0, MOST_LISTED).join(', ')
  return names.length > MOST_LISTED ? `${shown}, ...` : shown
}

/** Warnings about what limits a comparison, such as different rank rules in A and B. */
export function comparisonWarnings({ info: a }: Result, { info: b }: Result): string[] {
  return [
    ...(isDeepStrictEqual(a, b) ? ['A and B are the same result'] : []),
    ...headCounts(a, b),
    ...(isDeepStrictEqual(a.rank, b.rank)
      ? []
      : [`A and B have different rank rules: ${ruleText(a)} and ${ruleText(b)}`]),
    ...(a.estimator === b.estimator
      ? []
      : [`A and B have different estimators: ${a.estimator} and ${b.estimator}`]),
    ...(a.center === b.center ? [] : [`${a.center ? 'A' : 'B'} alone is centred`]),
  ]
}

function headCounts(a: ResultInfo, b: ResultInfo): string[] {
  return a.sites.flatMap((site) => {
    const other = b.sites.find(({ layer, kind }) => layer === site.layer && kind === site.kind)
    if (!other || other.heads === site.heads) {
      return []
    }
    const layer = `${site.kind ? `${site.kind}.` : ''}L${site.layer}`
    return [`${layer} has ${site.heads} heads in A and ${other.heads} in B: equal names are other heads`]
  })
}

function ruleText({ rank }: ResultInfo): string {
  const { rule, ...rest } = rank
  return [rule, ...Object.values(rest)].join(':')
}
