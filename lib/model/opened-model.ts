/** A model that is open: its verified attention sites, and what its prompts are. */

import { QkError } from '../errors.js'
import type { UnsupportedSite } from './candidate.js'
import { type ModelInput, tableRows, takesTokens } from './inference/inputs.js'
import type { Graph } from './onnx/graph.js'
import type { ResolvedSite } from './sites/site.js'
import type { HubOrigin } from './source/hub-model.js'
import type { PromptTokenizer } from './tokenizer/tokenizer.js'
import { vocabularyWarnings } from './tokenizer/vocabulary.js'

/** Above these a capture is refused (contract 3). */
const TOLERANCE = { f32: 1e-3, f16: 1e-2 } as const

/** The largest relative error with which a site's capture is accepted. */
export function toleranceOf({ queryType }: ResolvedSite): number {
  return queryType === 'float16' ? TOLERANCE.f16 : TOLERANCE.f32
}

interface MoreOfModel {
  hub?: HubOrigin
  warnings?: readonly string[]
}

/** An ONNX model whose attention sites were found and verified; `openModel` makes it. */
export class Model {
  /** Rows of the table that token ids select from; undefined where it is not stored in the file as such. */
  readonly vocabulary: number | undefined
  /** What may be wrong without being an error: a tokenizer whose ids are odd, or do not fit the model's table. */
  readonly warnings: readonly string[]
  /** The repository and commit that the file was downloaded from; undefined for files of one's own. */
  readonly hub: HubOrigin | undefined

  /** @internal */
  constructor(
    /** Path of the `.onnx` file: as given, or that in the given folder, or in the cache of downloads. */
    readonly path: string,
    /** Attention that can be captured, in topological order. */
    readonly sites: readonly ResolvedSite[],
    /** Attention that was seen in the graph but cannot be captured, with the reason. */
    readonly unsupported: readonly UnsupportedSite[],
    /** Inputs of the graph, and what each is for. */
    readonly inputs: readonly ModelInput[],
    /** The graph itself, as it was read. */
    readonly graph: Graph,
    /** Threads that onnxruntime computes with. */
    readonly threads: number,
    /** The tokenizer that prompts in text go through; undefined where the model has none. */
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

/** What callers pass as a model, `what` being the function that they call. Errors: ERR_TYPE. */
export function checkModel(model: unknown, what: string): asserts model is Model {
  if (model instanceof Model) {
    return
  }
  throw new QkError('ERR_TYPE', `${what} takes an opened model`, { hint: 'await openModel(file) first.' })
}
