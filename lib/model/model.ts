/** Opens ONNX models and finds, resolves and verifies their attention sites. */

import { availableParallelism } from 'node:os'
import { QkError } from '../errors.js'
import { checkOptions } from '../validate.js'
import type { UnsupportedSite } from './candidate.js'
import { lowerAttention } from './fused/lower.js'
import { verifySites } from './graphs/verify.js'
import { type ModelInput, modelInputs, tableRows, takesTokens } from './inference/inputs.js'
import { givenSizes, settledInputs } from './inference/sizes/given.js'
import type { Graph } from './onnx/graph.js'
import { openGraph } from './open-graph.js'
import { findSites } from './sites/search/find.js'
import type { AttentionSite, ResolvedSite } from './sites/site.js'
import { surveySites } from './sites/survey.js'
import { locateTokens } from './token-rows.js'
import { loadTokenizer, type PromptTokenizer } from './tokenizer/tokenizer.js'
import { vocabularyWarnings } from './tokenizer/vocabulary.js'

export interface OpenOptions {
  /** Path of a Hugging Face `tokenizer.json`. */
  tokenizer?: string
  /** Threads of one inference; all cores by default. */
  threads?: number
  /**
   * Sizes of free axes that the graph does not tell, by name, or as in `hidden_states.2` where an axis has none. They
   * hold for good, but for those that prompts have their own of (their number and length): these hold for the probe.
   */
  sizes?: Readonly<Record<string, number>>
}

const OPTIONS = { tokenizer: true, threads: true, sizes: true } satisfies Record<keyof OpenOptions, true>

/** Above these a capture is refused (design: contract 3). */
const TOLERANCE = { f32: 1e-3, f16: 1e-2 } as const

/** The largest relative error with which a site's capture is accepted. */
export function toleranceOf({ queryType }: ResolvedSite): number {
  return queryType === 'float16' ? TOLERANCE.f16 : TOLERANCE.f32
}

export class Model {
  /** Rows of the table that token ids select from; undefined where it is not stored in the file as such. */
  readonly vocabulary: number | undefined
  /** What may be wrong without being an error: a tokenizer whose ids are odd, or do not fit the model's table. */
  readonly warnings: readonly string[]

  /** @internal */
  constructor(
    /** Path as given. */
    readonly path: string,
    readonly sites: readonly ResolvedSite[],
    /** Attention that was seen in the graph but cannot be captured, with the reason. */
    readonly unsupported: readonly UnsupportedSite[],
    readonly inputs: readonly ModelInput[],
    readonly graph: Graph,
    readonly threads: number,
    readonly tokenizer: PromptTokenizer | undefined,
  ) {
    const ids = inputs.find(({ role }) => role === 'ids')
    this.vocabulary = ids && tableRows(graph, ids.name)
    this.warnings = [...(tokenizer?.warnings ?? []), ...vocabularyWarnings(tokenizer, this.vocabulary)]
  }

  /** What was decided about the graph: of which If which branch is taken, and why. */
  get notes(): readonly string[] {
    return this.graph.model.notes
  }

  /** Whether the model reads [position, sequence], and gives its logits so. */
  get sequenceFirst(): boolean {
    return this.inputs.some(({ role, sequenceFirst }) => role === 'ids' && sequenceFirst)
  }

  /** Whether prompts are token ids (or text); otherwise they give the model's inputs as tensors. */
  get takesTokens(): boolean {
    return takesTokens(this.inputs)
  }
}

/**
 * Opens a model: reads its graph, finds its attention sites, runs a small synthetic probe to settle their
 * axes, and measures for each how well scores recomputed from its queries and keys match the model's own.
 *
 * Errors: ERR_FILE, ERR_NOT_ONNX, ERR_NO_ATTENTION, ERR_INFERENCE, ERR_TOKENIZER,
 * ERR_UNSUPPORTED_MODEL.
 */
export async function openModel(path: string, options: OpenOptions = {}): Promise<Model> {
  checkOptions(options, OPTIONS, 'openModel')
  const threads = options.threads ?? availableParallelism()
  const lowered = lowerAttention(openGraph(path))
  const { graph } = lowered
  const tokenizer = options.tokenizer === undefined ? undefined : await loadTokenizer(options.tokenizer)
  const found = findSites(graph, lowered.fused)
  const unreached = [...lowered.unsupported, ...found.unsupported]
  if (found.candidates.length === 0) throw noAttention(path, unreached)
  if (graph.opset < 11) {
    throw new QkError(
      'ERR_UNSUPPORTED_MODEL',
      `${path} uses opset ${graph.opset}; rows are gathered by opset 11`,
      {
        hint: 'Convert it with onnx.version_converter, or export it again with opset 11 or later.',
      },
    )
  }
  const taken = modelInputs(graph)
  const given = givenSizes(taken, options.sizes ?? {})
  const context = { graph, inputs: settledInputs(graph, taken, given), threads, given }
  const survey = await surveySites(context, found.candidates, unreached)
  const { inputs } = survey
  const unsupported: UnsupportedSite[] = survey.unsupported.map(({ at, ...shown }) => shown)
  const located = await locateTokens({ graph, inputs, threads }, survey.sites)
  unsupported.push(...located.unsupported)
  const { sites } = located
  if (sites.length === 0) throw noAttention(path, unsupported)
  const verified = await verifySites(graph, sites, survey.feeds, threads, 'float64')
  sites.forEach((site, i) => {
    site.relativeError = verified[i].relativeError
    site.keyStride = verified[i].keyStride
    site.kvHeads /= verified[i].keyStride
  })
  return new Model(path, sites, unsupported, inputs, graph, threads, tokenizer)
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

/** One line: the layer, the node, its operator, the reason, and what would be needed. */
export function describeUnsupported({ node, op, reason, needs, layer, kind }: UnsupportedSite): string {
  const name = layer === undefined ? '' : `${kind ? `${kind}.` : ''}L${layer}, `
  return `${name}${node} (${op}): ${reason}${needs ? `; needed: ${needs}` : ''}`
}

const SHOWN = [
  'layer',
  'kind',
  'op',
  'node',
  'heads',
  'kvHeads',
  'headDim',
  'scale',
  'causal',
  'rotary',
  'cross',
  'uncovered',
  'altered',
  'otherRows',
  'hooks',
  'relativeError',
] as const satisfies (keyof AttentionSite)[]

/** The part of a site that users see, in the order of `inspect --json`. */
export function describeSite(site: AttentionSite): AttentionSite {
  const shown = SHOWN.filter((key) => site[key] !== undefined).map((key) => [key, site[key]] as const)
  return Object.fromEntries(shown) as unknown as AttentionSite
}
