/** ΔC = C+ - C- = U diag(s) V^T for every head and contrast, cut to a rank by a named rule. */

import type { Sums } from '../covariance/accumulate.js'
import type { HeadGroup } from '../covariance/site-plan.js'
import { QkError, throwIfAborted } from '../errors.js'
import { describeSite, type Model } from '../model/model.js'
import { headName, type ResolvedSite } from '../model/sites/site.js'
import { fileHash } from '../store/file-hash.js'
import { type ContrastSubspace, type RankRule, Result } from '../store/result.js'
import { checkOptions } from '../validate.js'
import { versions } from '../versions.js'
import { checkRankRule, DEFAULT_RULE, stoppingRule } from './rank/rules.js'
import { svd } from './svd.js'

export interface DecomposeOptions {
  /** Default `{ rule: 'energy', threshold: 0.99 }`. */
  rank?: RankRule
  /** Subtract the product of the means, C± - mean(q±) mean(k±)^T; not with the estimator `sum`. */
  center?: boolean
  /** Keep C+ and C- in the result. */
  keepCovariances?: boolean
  /** Also find all singular values of ΔC, those that the rule cuts off included. */
  spectrum?: boolean
  /** Seed of the randomised start of the decomposition; default 0. */
  seed?: number
  signal?: AbortSignal
}

const OPTIONS = {
  rank: true,
  center: true,
  keepCovariances: true,
  spectrum: true,
  seed: true,
  signal: true,
} satisfies Record<keyof DecomposeOptions, true>

/**
 * Decomposes accumulated covariances. The smallest rank r with sum_{i<=r} s_i^2 >= threshold ||ΔC||_F^2
 * under `energy` (the paper's rule), a given one under `fixed`. ΔC = 0 has rank 0.
 *
 * Errors: ERR_ARGUMENT, ERR_NOT_BUILT_YET (rank rules to come), ERR_NON_FINITE, ERR_ABORTED.
 */
export async function decompose(sums: Sums, options: DecomposeOptions = {}): Promise<Result> {
  if (!Array.isArray(sums?.sites)) {
    throw new QkError('ERR_TYPE', 'decompose takes what accumulate gives', {
      hint: 'await accumulate(...) first.',
    })
  }
  checkOptions(options, OPTIONS, 'decompose')
  const rule = checkRankRule(options.rank ?? DEFAULT_RULE)
  const seed = options.seed ?? 0
  const heads = new Map<string, Map<string, ContrastSubspace>>()
  for (const { site, groups } of sums.sites) {
    for (const group of groups) {
      throwIfAborted(options.signal)
      const found = await decomposeGroup(sums, group, site, rule, seed, options)
      group.heads.forEach((head, i) => {
        heads.set(headName(site, head), found[i])
      })
    }
  }
  const { model, prompts, estimator, backend, sharing } = sums
  const info: Result['info'] = {
    format: 'qkspace-result',
    formatVersion: 1,
    model: await hashModel(model),
    prompts,
    estimator,
    sharing,
    center: options.center ?? false,
    rank: rule,
    seed,
    backend: { name: backend.name, instructionSet: backend.instructionSet },
    versions: versions(),
    sites: sums.sites.map(({ site, relativeError }) => ({ ...describeSite(site), relativeError })),
    heads: Object.fromEntries([...heads].map(([name, contrasts]) => [name, headInfo(contrasts)])),
    ...(sums.warnings.length > 0 && { warnings: sums.warnings }),
  }
  return new Result(info, heads)
}

async function decomposeGroup(
  sums: Sums,
  group: HeadGroup,
  site: ResolvedSite,
  rule: RankRule,
  seed: number,
  options: DecomposeOptions,
): Promise<Map<string, ContrastSubspace>[]> {
  const { covariance } = group
  const { headDim: d } = site
  const { cPos, cNeg, terms, skipped } = await covariance.read({ center: options.center })
  const n = sums.contrasts.length * group.heads.length
  const delta = cPos.map((value, i) => value - cNeg[i])
  const backend = covariance.backend.name
  const common = { ...{ n, rows: d, cols: d, backend, seed }, signal: options.signal }
  const { u, s, v, ranks, maxRank, totalEnergy, errorBound, converged } = await svd(delta, {
    ...common,
    ...stoppingRule(rule),
  })
  const gaps = await scoreGaps(site, group, delta, options.center)
  const all = options.spectrum ? (await svd(delta, common)).s : undefined
  return group.heads.map((_, head) => {
    const contrasts = new Map<string, ContrastSubspace>()
    sums.contrasts.forEach((contrast, c) => {
      const i = c * group.heads.length + head
      const rank = totalEnergy[i] === 0 ? 0 : ranks[i]
      const matrix = (batch: Float64Array) => batch.slice(i * d * d, (i + 1) * d * d)
      contrasts.set(contrast, {
        u: firstColumns(u, i, d, maxRank, rank),
        s: s.slice(i * maxRank, i * maxRank + rank),
        v: firstColumns(v, i, d, maxRank, rank),
        headDim: d,
        rank,
        totalEnergy: totalEnergy[i],
        scoreGap: gaps(i, group.heads[head]),
        errorBound: errorBound[i],
        converged: converged[i] === 1,
        terms: terms[c],
        skipped: skipped[c],
        ...(options.keepCovariances ? { cPos: matrix(cPos), cNeg: matrix(cNeg) } : {}),
        ...(all && { spectrum: all.slice(i * d, (i + 1) * d) }),
      })
    })
    return contrasts
  })
}

/**
 * What is the mean scaled score of the positive keys less that of the negative ones, of matrix i and its head. NaN where
 * the factors of the scores differ between the keys of one query.
 */
async function scoreGaps(
  { factors, operandScale, headDim: d }: ResolvedSite,
  { scaled }: HeadGroup,
  delta: Float64Array,
  center: boolean | undefined,
): Promise<(i: number, head: number) => number> {
  if (factors.kind === 'constant') {
    return (i, head) => operandScale * factors.byHead[head] * trace(delta, i, d)
  }
  if (!scaled) return () => Number.NaN
  const { cPos, cNeg } = await scaled.read({ center })
  return (i) => operandScale * (trace(cPos, i, d) - trace(cNeg, i, d))
}

/** Columns [0, rank) of matrix i of a batch [n, d, width]. */
function firstColumns(batch: Float64Array, i: number, d: number, width: number, rank: number): Float64Array {
  const out = new Float64Array(d * rank)
  for (let row = 0; row < d; row++) {
    for (let c = 0; c < rank; c++) out[row * rank + c] = batch[(i * d + row) * width + c]
  }
  return out
}

function trace(batch: Float64Array, i: number, d: number): number {
  let sum = 0
  for (let j = 0; j < d; j++) sum += batch[(i * d + j) * d + j]
  return sum
}

function headInfo(contrasts: ReadonlyMap<string, ContrastSubspace>): Result['info']['heads'][string] {
  return Object.fromEntries(
    [...contrasts].map(([name, { rank, totalEnergy, scoreGap, errorBound, converged, terms, skipped }]) => [
      name,
      { rank, totalEnergy, scoreGap, errorBound, converged, terms, skipped },
    ]),
  )
}

async function hashModel(model: Model): Promise<Result['info']['model']> {
  const files = await Promise.all(model.graph.model.files.map(fileHash))
  return { path: model.path, sha256: files[0].sha256, files }
}
