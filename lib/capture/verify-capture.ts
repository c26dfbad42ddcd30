/** Refuses captures whose queries and keys do not reproduce the model's own scores (contract 3). */

import { QkError } from '../errors.js'
import { type Verification, verifySites } from '../model/graphs/verify.js'
import { type Model, toleranceOf } from '../model/model.js'
import type { ResolvedSite } from '../model/sites/site.js'
import { buildBatch } from './batch.js'
import type { EncodedPrompt } from './encode.js'
import { explainFailure } from './explain-failure.js'
import { batchingFor } from './feeds.js'
import { verifiedTokens } from './run-size.js'

/**
 * Verifies sites on the prompt's own run, or on the beginning of a long prompt. Returns their relative errors. Errors:
 * ERR_CAPTURE_MISMATCH, with the site; ERR_INFERENCE.
 */
export async function verifyOnPrompt(
  model: Model,
  sites: readonly ResolvedSite[],
  prompt: EncodedPrompt,
): Promise<number[]> {
  const [run] = prompt.runs
  const short = run.kind === 'tokens' ? { ...run, ids: verifiedTokens(model, sites, run.ids) } : run
  const alone: EncodedPrompt = { ...prompt, runs: [short], rules: [] }
  const padId = model.tokenizer?.padId ?? 0
  const [{ feeds }] = buildBatch([alone], [], model.inputs, batchingFor(model, 1), padId).inferences
  const verified = await verifySites(model.graph, sites, feeds, model.threads).catch((error) => {
    throw explainFailure(error, { feeds, queries: [{ where: prompt.where, position: 0 }], keys: [] })
  })
  return verified.map((found, i) => acceptedError(model, sites[i], found))
}

/** The relative error of a verified site. Errors: ERR_CAPTURE_MISMATCH. */
export function acceptedError(model: Model, site: ResolvedSite, found: Verification): number {
  const { relativeError, finite } = found
  const limit = toleranceOf(site)
  // Rows that are not finite are reported where they are used.
  if (relativeError <= limit || !finite) {
    return relativeError
  }
  throw new QkError(
    'ERR_CAPTURE_MISMATCH',
    `${model.path}: the scores of layer ${site.layer} (node ${site.node}) cannot be recomputed from the ` +
      `captured queries and keys: relative error ${relativeError.toExponential(1)}, allowed ${limit}`,
    { hint: 'Something besides queries and keys enters these scores; leave the layer out.' },
  )
}
