/** Opens ONNX models, here or first in a process of its own, and describes what was found in them. */

import { QkError, throwIfAborted } from '../errors.js'
import { checkFlag, checkOptions } from '../validate.js'
import type { DownloadProgress } from './hub/repository.js'
import { openInChild } from './isolation/open-in-child.js'
import { type OpenHereOptions, openHere } from './open-here.js'
import type { Model } from './opened-model.js'
import type { AttentionSite } from './sites/site.js'
import type { ModelChoice } from './source/choose-model.js'
import { resolveSource } from './source/resolve-source.js'

export { describeUnsupported } from './open-here.js'
export { checkModel, Model, toleranceOf } from './opened-model.js'

/** What `openModel` takes besides the name of the model. */
export interface OpenOptions extends OpenHereOptions, ModelChoice {
  /**
   * Path of a Hugging Face `tokenizer.json`; false for none. By default that which lies beside the model, in the folder
   * around a folder `onnx`, or in the folder that is opened, where there is one and the model takes token ids.
   */
  tokenizer?: string | false
  /**
   * Opens the file in a child process first, where a crash of onnxruntime is only an error, and here only if that ends
   * well. For files of unknown origin; it takes twice as long, and the start of a process. False by default.
   */
  isolate?: boolean
  /** Aborts a download; what has begun to open is opened. */
  signal?: AbortSignal
  /** Told of a download as it goes on. */
  onProgress?: (progress: DownloadProgress) => void
}

const OPTIONS = {
  tokenizer: true,
  dtype: true,
  file: true,
  threads: true,
  sizes: true,
  isolate: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof OpenOptions, true>

/**
 * Opens a model: reads its graph, finds its attention sites, runs a small synthetic probe to settle their
 * axes, and measures for each how well scores recomputed from its queries and keys match the model's own.
 *
 * `given` is the path of an `.onnx` file; or a folder as transformers.js, Optimum or onnxruntime-genai lay it out; or
 * `hf:org/name[@revision][/path]` of the Hugging Face Hub, of which the files that are needed are downloaded into the
 * cache that it shares with huggingface_hub for Python. The environment says where the Hub and the cache are
 * (`HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`), which token it is given (`HF_TOKEN`), and whether anything may be
 * downloaded (`HF_HUB_OFFLINE`).
 *
 * Errors: ERR_ARGUMENT, ERR_TYPE, ERR_FILE, ERR_FORMAT, ERR_NOT_ONNX, ERR_NO_ATTENTION, ERR_INFERENCE, ERR_TOKENIZER,
 * ERR_UNSUPPORTED_MODEL; with a model of the Hub also ERR_HUB (it has no such model, or does not give it), ERR_NETWORK,
 * ERR_CHECKSUM (what came is not what the Hub lists) and ERR_ABORTED.
 */
export async function openModel(given: string, options: OpenOptions = {}): Promise<Model> {
  if (typeof options === 'string') {
    throw new QkError('ERR_TYPE', `openModel takes its options as an object, got the text "${options}"`, {
      hint: `A tokenizer is named as { tokenizer: '${options}' }.`,
    })
  }
  checkOptions(options, OPTIONS, 'openModel')
  const { isolate = false, tokenizer, dtype, file, signal, onProgress, ...rest } = options
  checkFlag(isolate, 'isolate')
  if (tokenizer !== undefined && tokenizer !== false && typeof tokenizer !== 'string') {
    throw new QkError('ERR_TYPE', `tokenizer must be a path, or false for none, got ${tokenizer}`)
  }
  const { path, tokenizer: lying, hub } = await resolveSource(given, { dtype, file }, { signal, onProgress })
  throwIfAborted(signal)
  if (isolate) {
    await openInChild(path, rest)
  }
  const beside = tokenizer === undefined ? { foundTokenizer: lying } : { tokenizer: tokenizer || undefined }
  return openHere(path, rest, { ...beside, hub })
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
