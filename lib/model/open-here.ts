/** Opens a model from a file, all of it in this process: graph, sites, probe, verification. */

import { availableParallelism } from 'node:os'
import { QkError } from '../errors.js'
import type { UnsupportedSite } from './candidate.js'
import { lowerAttention } from './fused/lower.js'
import { verifySites } from './graphs/verify.js'
import { modelInputs, takesTokens } from './inference/inputs.js'
import { givenSizes, settledInputs } from './inference/sizes/given.js'
import { openGraph } from './open-graph.js'
import { Model } from './opened-model.js'
import { findSites } from './sites/search/find.js'
import { surveySites } from './sites/survey.js'
import type { HubOrigin } from './source/hub-model.js'
import { locateTokens } from './token-rows.js'
import { loadTokenizer, type PromptTokenizer } from './tokenizer/tokenizer.js'
import { refuseUnrunnable, withMissingKernel } from './unrunnable.js'

export interface OpenHereOptions {
  /** Threads of one inference; by default one per core. */
  threads?: number
  /**
   * Sizes of free axes that the graph does not determine, by axis name, or as in `hidden_states.2` for an axis without
   * a name. They hold for every run, except sizes that prompts determine (their number and length): these hold only
   * for the probe.
   */
  sizes?: Readonly<Record<string, number>>
}

/** Known facts about a model before its file is read. */
export interface Beside {
  /** Path of the tokenizer that the caller gave. */
  tokenizer?: string
  /** Path of a tokenizer that was found. It is used if the model takes token ids. */
  foundTokenizer?: string
  /** Where the file was downloaded from. */
  hub?: HubOrigin
}

/**
 * Opens a model in this process. Errors: ERR_FILE, ERR_NOT_ONNX, ERR_NO_ATTENTION, ERR_INFERENCE, ERR_TOKENIZER,
 * ERR_UNSUPPORTED_MODEL.
 */
export async function openHere(path: string, options: OpenHereOptions, beside: Beside = {}): Promise<Model> {
  const threads = options.threads ?? availableParallelism()
  const lowered = lowerAttention(openGraph(path))
  const { graph } = lowered
  const named = beside.tokenizer === undefined ? undefined : await loadTokenizer(beside.tokenizer)
  const searched = findSites(graph, lowered.fused)
  const unreached = [...lowered.unsupported, ...searched.unsupported]
  if (searched.candidates.length === 0) {
    throw noAttention(path, unreached)
  }
  refuseUnrunnable(path, graph)
  const taken = modelInputs(graph)
  const given = givenSizes(taken, options.sizes ?? {})
  const context = { graph, inputs: settledInputs(graph, taken, given), threads, given }
  const survey = await surveySites(context, searched.candidates, unreached).catch((error) => {
    throw withMissingKernel(path, graph, error)
  })
  const { inputs } = survey
  const unsupported: UnsupportedSite[] = survey.unsupported.map(({ at, ...shown }) => shown)
  const located = await locateTokens({ graph, inputs, threads }, survey.sites)
  unsupported.push(...located.unsupported)
  const { sites } = located
  if (sites.length === 0) {
    throw noAttention(path, unsupported)
  }
  const verified = await verifySites(graph, sites, survey.feeds, threads, 'float64')
  sites.forEach((site, i) => {
    site.relativeError = verified[i].relativeError
    site.keyStride = verified[i].keyStride
    site.kvHeads /= verified[i].keyStride
  })
  const found = takesTokens(inputs) ? await tryTokenizer(beside.foundTokenizer) : {}
  const tokenizer = named ?? found.tokenizer
  const { hub } = beside
  return new Model(path, sites, unsupported, inputs, graph, threads, tokenizer, {
    hub,
    warnings: found.warnings,
  })
}

/** Loads a tokenizer that the caller did not ask for. Its failure must not keep the model from opening. */
async function tryTokenizer(
  file: string | undefined,
): Promise<{ tokenizer?: PromptTokenizer; warnings?: string[] }> {
  if (file === undefined) {
    return {}
  }
  try {
    return { tokenizer: await loadTokenizer(file) }
  } catch (error) {
    if (!(error instanceof QkError)) {
      throw error
    }
    return { warnings: [`the tokenizer beside the model is not used: ${error.message}`] }
  }
}

function noAttention(path: string, unsupported: readonly UnsupportedSite[]): QkError {
  const reasons = unsupported.map(describeUnsupported)
  return new QkError(
    'ERR_NO_ATTENTION',
    reasons.length > 0
      ? `${path} has no attention that can be captured:\n  ${reasons.slice(0, 8).join('\n  ')}`
      : `${path} has no attention: no Softmax lies between two products of computed tensors`,
  )
}

/** One line: layer, node, operator, reason, and what would be needed. */
export function describeUnsupported({ node, op, reason, needs, layer, kind }: UnsupportedSite): string {
  const name = layer === undefined ? '' : `${kind ? `${kind}.` : ''}L${layer}, `
  return `${name}${node} (${op}): ${reason}${needs ? `; needed: ${needs}` : ''}`
}
