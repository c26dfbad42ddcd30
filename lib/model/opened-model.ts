/** An opened model: its verified attention sites, and what it takes as prompts. */

import { QkError } from '../errors.js'
import type { UnsupportedSite } from './candidate.js'
import { type ModelInput, tableRows, takesTokens } from './inference/inputs.js'
import type { Graph } from './onnx/graph.js'
import type { ResolvedSite } from './sites/site.js'
import type { HubOrigin } from './source/hub-model.js'
import type { PromptTokenizer } from './tokenizer/tokenizer.js'
import { vocabularyWarnings } from './tokenizer/vocabulary.js'

/** Largest accepted relative errors. A capture with a larger error is refused (contract 3). */
const TOLERANCE = { f32: 1e-3, f16: 1e-2 } as const

/** The largest accepted relative error of a site's capture. */
export function toleranceOf({ queryType }: ResolvedSite): number {
  return queryType === 'float16' ? TOLERANCE.f16 : TOLERANCE.f32
}

interface MoreOfModel {
  hub?: HubOrigin
  warnings?: readonly string[]
}

/** An ONNX model whose attention sites were found and verified; `openModel` makes it. */
export class Model {
  /** Number of rows in the table that token ids index. Undefined if the file stores no such table. */
  readonly vocabulary: number | undefined
  /** Warnings, such as a tokenizer whose ids are odd or do not fit the model's table. */
  readonly warnings: readonly string[]
  /** The repository and commit that the file was downloaded from. Undefined for local files. */
  readonly hub: HubOrigin | undefined

  /** @internal */
  constructor(
    /** Path of the `.onnx` file: as given, or in the given folder, or in the cache of downloads. */
    readonly path: string,
    /** Attention that can be captured, in topological order. */
    readonly sites: readonly ResolvedSite[],
    /** Attention in the graph that cannot be captured, with the reason. */
    readonly unsupported: readonly UnsupportedSite[],
    /** Inputs of the graph, each with its purpose. */
    readonly inputs: readonly ModelInput[],
    /** The graph itself, as it was read. */
    readonly graph: Graph,
    /** Number of threads of onnxruntime. */
    readonly threads: number,
    /** The tokenizer for prompts in text. Undefined if the model has none. */
    readonly tokenizer: PromptTokenizer | undefined,
    { hub, warnings = [] }: MoreOfModel = {},
  ) {
    this.hub = hub
    const ids = inputs.find(({ role }) => role === 'ids')
    this.vocabulary = ids && tableRows(graph, ids.name)
    this.warnings = [
      ...warnings,
      ...(tokenizer?.warnings ?? []),
      ...vocabularyWarnings(tokenizer, this.vocabulary),
    ]
  }

  /** Decisions about the graph: which branch of an If is taken, and why. */
  get notes(): readonly string[] {
    return this.graph.model.notes
  }

  /** Whether the model takes [position, sequence], and outputs its logits that way. */
  get sequenceFirst(): boolean {
    return this.inputs.some(({ role, sequenceFirst }) => role === 'ids' && sequenceFirst)
  }

  /** Whether prompts are token ids (or text). Otherwise they give the model's inputs as tensors. */
  get takesTokens(): boolean {
    return takesTokens(this.inputs)
  }
}

/** Checks an argument that must be a model; `what` is the called function. Errors: ERR_TYPE. */
export function checkModel(model: unknown, what: string): asserts model is Model {
  if (model instanceof Model) {
    return
  }
  throw new QkError('ERR_TYPE', `${what} takes an opened model`, { hint: 'await openModel(file) first.' })
}
