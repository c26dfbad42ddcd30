/**
 * Memory of a run, estimated before it starts, so that a prompt that cannot fit is an error and not a crash. Attention
 * that is written out holds several tensors with the scores of a layer at once, which grow with the square of the
 * length.
 */

import { totalmem } from 'node:os'
import { QkError } from '../errors.js'
import { gibibytes } from '../math/bytes.js'
import { fixedLength } from '../model/inference/inputs.js'
import type { Model } from '../model/model.js'
import type { ResolvedSite } from '../model/sites/site.js'
import { counted } from '../validate.js'

/**
 * Number of tensors of the size of a layer's scores that exist at once: product, masked scores, pattern (3.5
 * measured).
 */
const COPIES = 4
/** Fraction of the limit for a batch; the rest is for a single long prompt. */
const BATCH_SHARE = 1 / 4

const BYTES: Record<string, number> = { float16: 2, float32: 4, float64: 8 }

export interface RunSize {
  /** Most runs of a length that share an inference. */
  mostRuns(length: number): number
  /** Errors: ERR_MEMORY_LIMIT, with the prompt, if one run needs more than the limit. */
  check(length: number, where: string): void
}

/** For runs that compute the scores of all layers before `last`, or of all where it is absent; `limit` in bytes. */
export function runSize(model: Model, last?: ResolvedSite, limit = totalmem() / 2): RunSize {
  const before = last ? model.sites.slice(0, model.sites.indexOf(last)) : model.sites
  // A fused operator never stores all scores.
  const perEntry = before
    .filter(({ candidate }) => !candidate.fused)
    .map(({ heads, productType }) => heads * (BYTES[productType] ?? 4))
  const largest = Math.max(0, ...perEntry)
  const bytes = (length: number) => COPIES * largest * length ** 2
  return {
    mostRuns: (length) => Math.max(1, Math.floor((limit * BATCH_SHARE) / Math.max(1, bytes(length)))),
    check(length, where) {
      if (bytes(length) <= limit) {
        return
      }
      throw new QkError(
        'ERR_MEMORY_LIMIT',
        `${where}: the scores of ${counted(length, 'token')} take some ${gibibytes(bytes(length))} a layer while the model runs, ` +
          `the limit is ${gibibytes(limit)}`,
        { hint: 'Shorten the prompt, raise memoryLimit, or export the model with fused attention.' },
      )
    },
  }
}

/** Most scores in one comparison, over all sites. Each score takes some bytes in several tensors. */
const MOST_SCORES = 2 ** 26
const LEAST_TOKENS = 64

/**
 * The tokens on which a capture is verified and rows are tested for dependence. Only the first ones of a long prompt
 * are used, since a comparison holds the scores of every site.
 */
export function verifiedTokens(
  model: Model,
  sites: readonly ResolvedSite[],
  tokens: readonly number[],
): readonly number[] {
  if (fixedLength(model.inputs) !== undefined) {
    return tokens
  }
  const heads = sites.reduce((sum, site) => sum + site.heads, 0)
  return tokens.slice(0, Math.max(LEAST_TOKENS, Math.floor(Math.sqrt(MOST_SCORES / heads))))
}
