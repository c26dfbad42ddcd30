/**
 * The second pass: a sample of the units goes through the model again, and each term is measured with the subspaces
 * from the other half of the units.
 */

import { cooperator } from '../backend/cooperate.js'
import type { MeasuredGroup } from '../capture/attention-groups.js'
import { type CapturedBatch, type CapturedRows, captureBatches } from '../capture/run.js'
import type { PlacedPrompt, PromptSet } from '../contrast/prompt-set.js'
import { seededRandom } from '../math/random.js'
import { unitKey, unitWord } from '../math/unit-hash.js'
import { tensorValues } from '../model/inference/values.js'
import type { Model } from '../model/model.js'
import { keyHeadOf, type ResolvedSite } from '../model/sites/site.js'
import { halfOf } from '../spectrum/rank/exchange/signs.js'
import type { HeldOut } from '../store/held-out.js'
import type { FittedHead } from './fit-halves.js'
import { HeldOutTally, type HeldOutTerm } from './held-out-tally.js'

export interface HeldOutOptions {
  /** Approximate number of units of each contrast that are measured. */
  units: number
  /** Seed of the halves, which is that of the fit, and of the sample. */
  seed: number
  batchSize: number
  memoryLimit?: number
  signal?: AbortSignal
  onProgress?: (prompts: number) => void
}

/** Streams of the hash of seed and unit, for the choice of units and of the target among the negative keys. */
const SAMPLE = 102
const TARGET = 103

/**
 * Figures of every fitted head, in order. Undefined if none of its terms was in the sample. Errors: as `accumulate`.
 */
export async function measureHeldOut(
  model: Model,
  set: PromptSet,
  fitted: readonly FittedHead[],
  contrasts: readonly string[],
  unitsOf: ReadonlyMap<string, number>,
  options: HeldOutOptions,
): Promise<(HeldOut | undefined)[]> {
  const { seed, batchSize, memoryLimit, signal, onProgress } = options
  const random = seededRandom(seed)
  const tallies = fitted.map(({ halves, site, rank }) => new HeldOutTally(halves, site.headDim, rank, random))
  const sites = [...new Set(fitted.map(({ site }) => site))]
  const requests = sites.map((site) => ({ site }))
  const wanted = new Set(fitted.map(({ contrast }) => contrast))
  const prompts = sampled(set, wanted, unitsOf, options)
  const pause = cooperator(signal)
  let done = 0
  for await (const batch of captureBatches(model, prompts, requests, {
    contrasts,
    batchSize,
    memoryLimit,
    signal,
    attention: true,
    verified: true,
  })) {
    const rows = batch.sites.map((site, i) => new SiteRows(site, sites[i]))
    for (const term of termsOf(batch)) {
      const half = halfOf(seed, unitKey(term.unit))
      for (const [i, head] of fitted.entries()) {
        if (head.contrast !== contrasts[term.contrast]) {
          continue
        }
        tallies[i].add(rows[sites.indexOf(head.site)].term(term, head.head, seed), term.unit, half)
        await pause()
      }
    }
    done += batch.prompts
    onProgress?.(done)
  }
  return tallies.map((tally) => tally.figures())
}

/** Prompts of the units in the sample, with the rules of the measured contrasts. */
async function* sampled(
  set: PromptSet,
  wanted: ReadonlySet<string>,
  unitsOf: ReadonlyMap<string, number>,
  { units, seed }: HeldOutOptions,
): AsyncGenerator<PlacedPrompt> {
  for await (const placed of set) {
    const share = unitWord(seed, unitKey(placed.unit), SAMPLE, 0) / 2 ** 32
    const rules = placed.rules.filter(({ contrast }) => {
      return wanted.has(contrast) && share < units / (unitsOf.get(contrast) ?? 1)
    })
    if (rules.length > 0) {
      yield { ...placed, rules }
    }
  }
}

/** A term in captured rows. */
interface RowTerm {
  contrast: number
  unit: string
  query: number
  queryNeg: number
  positive: readonly number[]
  negative: readonly number[]
  groups: readonly [MeasuredGroup, MeasuredGroup] | undefined
}

/** Explicit terms, then queries of label sequences. */
function* termsOf({
  terms,
  termUnits,
  labels,
  labelUnits,
  attention = [],
}: CapturedBatch): Generator<RowTerm> {
  const count = terms?.contrast.length ?? 0
  for (let t = 0; t < count; t++) {
    const { contrast, query, queryNeg, pos, neg, posOffsets, negOffsets } = terms!
    yield {
      contrast: contrast[t],
      unit: termUnits[t],
      query: query[t],
      queryNeg: queryNeg[t],
      positive: [...pos.subarray(posOffsets[t], posOffsets[t + 1])],
      negative: [...neg.subarray(negOffsets[t], negOffsets[t + 1])],
      groups: attention.length > 0 ? [attention[2 * t], attention[2 * t + 1]] : undefined,
    }
  }
  for (let g = 2 * count; g < attention.length; g += 2) {
    const [positive, negative] = [attention[g], attention[g + 1]]
    const { queryPositions, queryRows, keyPositions, keyRows, contrast } = labels[positive.sequence!]
    const query = queryRows[queryPositions.indexOf(positive.query)]
    const rowsOf = ({ keys }: MeasuredGroup) => keys.map((key) => keyRows[keyPositions.indexOf(key)])
    yield {
      contrast,
      unit: labelUnits[positive.sequence!],
      query,
      queryNeg: query,
      positive: rowsOf(positive),
      negative: rowsOf(negative),
      groups: [positive, negative],
    }
  }
}

/** Captured rows of a site as numbers. */
class SiteRows {
  readonly #q: Float64Array
  readonly #k: Float64Array
  readonly #factors: Float64Array | undefined
  readonly #attention: Float64Array | undefined

  constructor(
    { q, k, factors, attention }: CapturedRows,
    private readonly site: ResolvedSite,
  ) {
    this.#q = tensorValues(q)
    this.#k = tensorValues(k)
    this.#factors = factors && tensorValues(factors)
    this.#attention = attention && tensorValues(attention)
  }

  term(term: RowTerm, head: number, seed: number): HeldOutTerm {
    const { heads, kvHeads, headDim: d } = this.site
    const query = (row: number) => this.#q.subarray((row * heads + head) * d, (row * heads + head + 1) * d)
    const keyHead = keyHeadOf(this.site, head)
    const key = (row: number) =>
      this.#k.subarray((row * kvHeads + keyHead) * d, (row * kvHeads + keyHead + 1) * d)
    const { positive, negative, groups } = term
    const own = query(term.query)
    const other = term.queryNeg === term.query ? own : query(term.queryNeg)
    // Determined by the term itself, not by its index in a batch.
    const at = (group: MeasuredGroup, i: number) => this.#attention![(group.from + i) * heads + head]
    const pick = unitWord(seed, unitKey(term.unit), TARGET, groups?.[0].query ?? 0) % negative.length
    const measured = this.#attention !== undefined && groups !== undefined
    return {
      keys: [...positive.map(key), ...negative.map(key)],
      queries: [...positive.map(() => own), ...negative.map(() => other)],
      target: positive.length + pick,
      counterfactual: groups !== undefined && groups[0].run !== groups[1].run,
      factor: measured ? this.#factor(term.query, head) : Number.NaN,
      attention: measured
        ? { origin: at(groups[0], 0), target: at(groups[1], pick) }
        : { origin: 0, target: 0 },
    }
  }

  /** NaN unless the scores are a factor times q·k, plus terms that do not change. */
  #factor(row: number, head: number): number {
    const { factors, operandScale, altered, candidate, heads } = this.site
    const capped = candidate.steps.some(({ node }) => node.opType === 'Tanh')
    if (altered || capped) {
      return Number.NaN
    }
    if (factors.kind === 'constant') {
      return operandScale * factors.byHead[head]
    }
    return this.#factors ? operandScale * this.#factors[row * heads + head] : Number.NaN
  }
}
