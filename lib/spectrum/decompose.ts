/** ΔC = C+ - C- = U diag(s) V^T for every head and contrast, truncated by a rank rule. */

import type { KeptDraws } from '../covariance/checkpointing.js'
import { shardName } from '../covariance/shard.js'
import type { HeadGroup } from '../covariance/site-plan.js'
import type { Sums } from '../covariance/sums.js'
import { QkError, throwIfAborted } from '../errors.js'
import { firstColumns } from '../math/columns.js'
import { hashedModel } from '../model/hashed-model.js'
import { describeSite } from '../model/model.js'
import { headName, type ResolvedSite } from '../model/sites/site.js'
import { type ContrastSubspace, type HeadInfo, type RankRule, Result } from '../store/result.js'
import { checkInteger, checkOptions } from '../validate.js'
import { versions } from '../versions.js'
import { NULL_SUBSPACES } from './nulls/controls.js'
import { groupControls } from './nulls/of-sums.js'
import { SumsNullData } from './rank/null-data.js'
import { checkRankRule, DEFAULT_RULE, stoppingRule } from './rank/rules.js'
import { type GroupTest, testSums } from './rank/test-sums.js'
import { testedMatrices } from './rank/tested-matrices.js'
import { svd } from './svd.js'

/** Options of `decompose`. */
export interface DecomposeOptions {
  /** Rank rule; default `{ rule: 'permutation', alpha: 0.05 }`, the calibrated test. */
  rank?: RankRule
  /**
   * Subtracts the product of the means, C± - mean(q±) mean(k±)^T; not with the estimator `sum`. The rule `permutation`
   * then tests the interaction. In counterfactual contrasts it subtracts the pooled means of both sides.
   */
  center?: boolean
  /** Keeps C+ and C- in the result. */
  keepCovariances?: boolean
  /** Also computes all singular values of ΔC, including those that the rule cuts off. */
  spectrum?: boolean
  /**
   * Number of null subspaces beside every subspace (docs/method.md, Rank), from rows of exchanged prompts. Default 20
   * under `permutation`, 0 under the other rules. None if `accumulate` kept no rows.
   */
  nulls?: number
  /** Seed of the randomised start of the decomposition, and of the rank test; default 0. */
  seed?: number
  /**
   * Existing draws of the test, and the place where new ones are kept: the checkpoint of `accumulate`, or `openDraws`.
   */
  checkpoint?: KeptDraws
  /** Ends the run with ERR_ABORTED. */
  signal?: AbortSignal
  /** Called with the progress of the rank test, in steps: two for each group of heads and contrast. */
  onProgress?: (progress: { done: number; total: number }) => void
}

const OPTIONS = {
  rank: true,
  center: true,
  keepCovariances: true,
  spectrum: true,
  nulls: true,
  seed: true,
  checkpoint: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof DecomposeOptions, true>

const MOST_NULLS = 10_000

/**
 * Decomposes accumulated covariances. Under `permutation` the rank is the number of components that are larger than
 * those of randomly exchanged prompts, corrected over all heads and contrasts; it is 0 if a head is not discovered.
 * Under `energy` (the paper's rule) it is the smallest r with sum_{i<=r} s_i^2 >= threshold ||ΔC||_F^2. Under `fixed`
 * it is given. ΔC = 0 has rank 0.
 *
 * Errors: ERR_ARGUMENT (also for `permutation` if no rows were kept), ERR_FEW_UNITS, ERR_NON_FINITE, ERR_FILE,
 * ERR_ABORTED.
 */
export async function decompose(sums: Sums, options: DecomposeOptions = {}): Promise<Result> {
  if (!Array.isArray(sums?.sites)) {
    throw new QkError('ERR_TYPE', 'decompose takes what accumulate gives', {
      hint: 'await accumulate(...) first.',
    })
  }
  checkOptions(options, OPTIONS, 'decompose')
  if (sums.shard) {
    throw new QkError('ERR_ARGUMENT', `these are the sums of shard ${shardName(sums.shard)}, not of all`, {
      hint: 'Save the sums of every shard, and put them together with mergeSums.',
    })
  }
  const rule = checkRankRule(options.rank ?? DEFAULT_RULE)
  checkFixedRank(rule, sums)
  const seed = options.seed ?? 0
  const nulls = checkInteger(
    options.nulls ?? (rule.rule === 'permutation' ? NULL_SUBSPACES : 0),
    'nulls',
    0,
    MOST_NULLS,
  )
  const nullData = new SumsNullData(sums, seed)
  const tested =
    rule.rule === 'permutation'
      ? await testSums(sums, {
          rule,
          center: options.center ?? false,
          seed,
          kept: options.checkpoint,
          signal: options.signal,
          onProgress: options.onProgress,
        })
      : undefined
  const heads = new Map<string, Map<string, ContrastSubspace>>()
  for (const { site, groups } of sums.sites) {
    for (const group of groups) {
      throwIfAborted(options.signal)
      const found = await decomposeGroup(sums, group, site, rule, seed, options, tested?.tests.get(group))
      const ranks = sums.contrasts.map((contrast) => found.map((own) => own.get(contrast)!.rank))
      const controls = await groupControls(sums, nullData, group, ranks, options.center ?? false, {
        count: nulls,
        backend: sums.backend.choice,
        seed,
        signal: options.signal,
      })
      sums.contrasts.forEach((contrast, c) => {
        for (const [i, own] of found.entries()) {
          Object.assign(own.get(contrast)!, controls[c][i])
        }
      })
      group.heads.forEach((head, i) => {
        heads.set(headName(site, head), found[i])
      })
    }
  }
  const { model, prompts, estimator, backend, sharing } = sums
  const warnings = [...sums.warnings, ...(tested?.warnings ?? [])]
  const info: Result['info'] = {
    format: 'qkspace-result',
    formatVersion: 1,
    model: await hashedModel(model),
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
    ...(warnings.length > 0 && { warnings }),
  }
  return new Result(info, heads)
}

/** Checks a fixed rank. Errors: ERR_ARGUMENT if no head has that many dimensions. */
function checkFixedRank(rule: RankRule, { sites }: Sums): void {
  const most = Math.max(...sites.map(({ site }) => site.headDim))
  if (rule.rule !== 'fixed' || rule.rank <= most) {
    return
  }
  throw new QkError(
    'ERR_ARGUMENT',
    `the fixed rank is ${rule.rank}, and a head has at most d = ${most} dimensions`,
    {
      hint: `Choose a rank from 1 to ${most}.`,
    },
  )
}

async function decomposeGroup(
  sums: Sums,
  group: HeadGroup,
  site: ResolvedSite,
  rule: RankRule,
  seed: number,
  options: DecomposeOptions,
  tests: readonly (GroupTest | undefined)[] | undefined,
): Promise<Map<string, ContrastSubspace>[]> {
  const { covariance } = group
  const { headDim: d } = site
  const { cPos, cNeg, terms, skipped } = await covariance.read({ center: options.center })
  const n = sums.contrasts.length * group.heads.length
  const difference = cPos.map((value, i) => value - cNeg[i])
  const delta = tests
    ? await testedMatrices(sums, group, difference, options.center ?? false, tests)
    : difference
  const backend = covariance.backend.choice
  const common = { n, rows: d, cols: d, backend, seed, signal: options.signal }
  const { u, s, v, ranks, maxRank, totalEnergy, errorBound, converged } = await svd(delta, {
    ...common,
    ...stoppingRule(rule),
  })
  const gaps = await scoreGaps(site, group, difference, options.center)
  const all = options.spectrum ? (tests ? s : (await svd(delta, common)).s) : undefined
  return group.heads.map((_, head) => {
    const contrasts = new Map<string, ContrastSubspace>()
    sums.contrasts.forEach((contrast, c) => {
      const i = c * group.heads.length + head
      const test = tests?.[c]?.tests[head]
      const attention = group.attention?.mean(c, head)
      const rank = totalEnergy[i] === 0 ? 0 : tests ? (test?.rank ?? 0) : ranks[i]
      const matrix = (batch: Float64Array) => batch.slice(i * d * d, (i + 1) * d * d)
      const columns = (batch: Float64Array) => {
        return firstColumns(batch.subarray(i * d * maxRank, (i + 1) * d * maxRank), maxRank, rank)
      }
      contrasts.set(contrast, {
        u: columns(u),
        s: s.slice(i * maxRank, i * maxRank + rank),
        v: columns(v),
        headDim: d,
        rank,
        totalEnergy: totalEnergy[i],
        scoreGap: gaps(i, group.heads[head]),
        errorBound: tests ? remainder(s, i, maxRank, rank, totalEnergy[i]) : errorBound[i],
        converged: converged[i] === 1,
        terms: terms[c],
        skipped: skipped[c],
        ...(attention && { attention }),
        ...(test && { test }),
        ...(options.keepCovariances ? { cPos: matrix(cPos), cNeg: matrix(cNeg) } : {}),
        ...(all && { spectrum: all.slice(i * d, (i + 1) * d) }),
      })
    })
    return contrasts
  })
}

/**
 * Mean scaled score of the positive keys less that of the negative keys, for each matrix and its head. NaN if the
 * factors of the scores differ between the keys of one query.
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
  if (!scaled) {
    return () => Number.NaN
  }
  const { cPos, cNeg } = await scaled.read({ center })
  return (i) => operandScale * (trace(cPos, i, d) - trace(cNeg, i, d))
}

/** ||A - U diag(s) V^T||_F / ||A||_F for the first `rank` components, from all singular values. */
function remainder(s: Float64Array, i: number, width: number, rank: number, totalEnergy: number): number {
  let left = 0
  for (let c = rank; c < width; c++) {
    left += s[i * width + c] ** 2
  }
  return totalEnergy > 0 ? Math.sqrt(left / totalEnergy) : 0
}

function trace(batch: Float64Array, i: number, d: number): number {
  let sum = 0
  for (let j = 0; j < d; j++) {
    sum += batch[(i * d + j) * d + j]
  }
  return sum
}

function headInfo(contrasts: ReadonlyMap<string, ContrastSubspace>): Result['info']['heads'][string] {
  return Object.fromEntries(
    [...contrasts].map(([name, { rank, totalEnergy, scoreGap, errorBound, converged, ...more }]) => {
      const { terms, skipped, attention, test } = more
      const info: HeadInfo = { rank, totalEnergy, scoreGap, errorBound, converged, terms, skipped }
      if (attention) {
        info.attention = attention
      }
      if (test) {
        info.test = test
      }
      return [name, info]
    }),
  )
}
