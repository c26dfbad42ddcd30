/**
 * Compares two results of one model family: of different prompts, of another wording, of a quantised copy, of another
 * checkpoint. The question is whether they find the same subspaces in the same heads.
 */

import { QkError } from '../../errors.js'
import { type ContrastSubspace, Result } from '../../store/result.js'
import { checkOptions } from '../../validate.js'
import { comparisonWarnings, inCommon } from './common.js'
import { type Change, type MeasureOfBoth, measuresOfBoth } from './measures.js'
import { type Side, type SideOverlap, sideOverlap } from './overlap.js'

/** Which heads and contrasts of two results are compared. */
export interface CompareOptions {
  /** 'all' common heads (default), or names as in `L0H1,L2H3`. */
  heads?: 'all' | string | readonly string[]
  /** Names of contrasts; default: those that both results have. */
  contrasts?: readonly string[]
}

const OPTIONS = { heads: true, contrasts: true } satisfies Record<keyof CompareOptions, true>

/** One head and contrast that both results have. */
export interface ComparedContrast {
  /** Name of the head, as in `L0H1`. */
  head: string
  /** Name of the contrast. */
  contrast: string
  /** Head dimension d, equal in both results. */
  headDim: number
  /** Rank of each subspace. */
  rank: Change<number>
  /** Overlap of the query-side subspaces. Null if one of them has rank 0. */
  query: SideOverlap | null
  /** Overlap of the key-side subspaces. Null if one of them has rank 0. */
  key: SideOverlap | null
  /** Mean overlap with a random subspace (Haar): the larger rank over d. Null if one side has rank 0. */
  random: number | null
  /** Whether the rank test discovered the head. Null if a result has no test. */
  discovered: Change<boolean | null>
  /** Whether the discovery was replicated between halves of the prompts. Null if a result has no test. */
  replicated: Change<boolean | null>
  /** Numbers that both results carry. */
  measures: Partial<Record<MeasureOfBoth, Change<number>>>
}

/** Two results side by side, head by head. */
export interface Comparison {
  /** Whether both results are of the same model file. */
  sameModel: boolean
  /**
   * Sorted by evidence: heads discovered in both results first. The others follow by the number of sides whose overlap
   * exceeds the null, then by how much it does.
   */
  rows: ComparedContrast[]
  /** What limits the comparison without being an error. */
  warnings: string[]
}

/**
 * Compares every head and contrast that both results have.
 *
 * Errors: ERR_TYPE, ERR_ARGUMENT, ERR_UNKNOWN_HEAD, ERR_UNKNOWN_CONTRAST (nothing in common), ERR_SHAPE (head dimensions
 * differ).
 */
export function compareResults(a: Result, b: Result, options: CompareOptions = {}): Comparison {
  if (!(a instanceof Result && b instanceof Result)) {
    throw new QkError('ERR_TYPE', 'compareResults takes two results', {
      hint: 'await loadResult(file), or decompose.',
    })
  }
  checkOptions(options, OPTIONS, 'compareResults')
  const { heads = 'all', contrasts } = options
  if (contrasts !== undefined && !Array.isArray(contrasts)) {
    throw new QkError('ERR_TYPE', `contrasts must be a list of names, got ${typeof contrasts}`)
  }
  const rows = inCommon(a, b, headList(heads), contrasts).map(({ head, contrast }) =>
    compareContrast(a, b, head, contrast),
  )
  return {
    sameModel: a.info.model.sha256 === b.info.model.sha256,
    rows: rows.sort((x, y) => evidence(y).reduce((order, e, i) => order || e - evidence(x)[i], 0)),
    warnings: comparisonWarnings(a, b),
  }
}

function headList(heads: 'all' | string | readonly string[]): readonly string[] | undefined {
  if (heads === 'all') {
    return undefined
  }
  if (typeof heads === 'string') {
    return heads.split(',').map((name) => name.trim())
  }
  if (Array.isArray(heads) && heads.length > 0 && heads.every((name) => typeof name === 'string')) {
    return heads
  }
  throw new QkError('ERR_TYPE', "heads are 'all', a string of names, or a list of names")
}

function compareContrast(a: Result, b: Result, head: string, contrast: string): ComparedContrast {
  const [inA, inB] = [a, b].map((result) => result.head(head).contrast(contrast))
  const query = sideOverlap(side(inA, 'u'), side(inB, 'u'))
  return {
    head,
    contrast,
    headDim: inA.headDim,
    rank: { a: inA.rank, b: inB.rank },
    query,
    key: sideOverlap(side(inA, 'v'), side(inB, 'v')),
    random: query && Math.max(inA.rank, inB.rank) / inA.headDim,
    discovered: { a: inA.test?.discovered ?? null, b: inB.test?.discovered ?? null },
    replicated: { a: isReplicated(inA), b: isReplicated(inB) },
    measures: measuresOfBoth(a, b, head, contrast),
  }
}

function side({ headDim: d, rank, nulls, ...bases }: ContrastSubspace, part: 'u' | 'v'): Side {
  return { d, rank, basis: bases[part], ...(nulls && { nulls: { count: nulls.count, bases: nulls[part] } }) }
}

function isReplicated({ test }: ContrastSubspace): boolean | null {
  return test ? (test.replication?.replicated ?? false) : null
}

/** Sort keys of the rows, most important first. */
function evidence({ discovered, query, key }: ComparedContrast): number[] {
  const sides = [query, key].flatMap((found) => found ?? [])
  const excess = sides.map(({ overlap, null: nulls }) => overlap - (nulls?.p95 ?? 0))
  return [
    Number(discovered.a ?? false) + Number(discovered.b ?? false),
    sides.length,
    sides.filter(({ withinNull }) => withinNull === false).length,
    excess.reduce((sum, x) => sum + x, 0),
  ]
}
