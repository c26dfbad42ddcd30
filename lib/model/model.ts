/** Opens ONNX models, directly or after a trial in a child process, and describes their attention sites. */

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

/** Options of `openModel`. */
export interface OpenOptions extends OpenHereOptions, ModelChoice {
  /**
   * Path of a Hugging Face `tokenizer.json`; false for none. By default, the tokenizer beside the model, in the parent
   * of a folder `onnx`, or in the opened folder, if there is one and the model takes token ids.
   */
  tokenizer?: string | false
  /**
   * Opens the file in a child process first, where a crash of onnxruntime is only an error. It is opened in this
   * process only if that succeeds. For files of unknown origin. Opening takes twice as long, plus the start of a
   * process. False by default.
   */
  isolate?: boolean
  /** Aborts a download. Does not stop the opening of a file once it has begun. */
  signal?: AbortSignal
  /** Called with the progress of a download. */
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
 * Opens a model: reads its graph, finds its attention sites, and runs a small synthetic probe to determine their axes.
 * For each site it measures how well scores recomputed from queries and keys match the model's own.
 *
 * `given` is the path of an `.onnx` file, a folder in the layout of transformers.js, Optimum or onnxruntime-genai, or
 * `hf:org/name[@revision][/path]` of the Hugging Face Hub. Needed files of the Hub are downloaded into the cache,
 * which is shared with huggingface_hub for Python. The environment gives the addresses of the Hub and the cache
 * (`HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`), the token (`HF_TOKEN`), and whether downloads are allowed
 * (`HF_HUB_OFFLINE`).
 *
 * Errors: ERR_ARGUMENT, ERR_TYPE, ERR_FILE, ERR_FORMAT, ERR_NOT_ONNX, ERR_NO_ATTENTION, ERR_INFERENCE, ERR_TOKENIZER,
 * ERR_UNSUPPORTED_MODEL. For a model of the Hub also ERR_HUB (the model does not exist or is not accessible),
 * ERR_NETWORK, ERR_CHECKSUM (the download differs from the Hub's listing) and ERR_ABORTED.
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

/** The part of a site for users, in the order of `inspect --json`. */
export function describeSite(site: AttentionSite): AttentionSite {
  const shown = SHOWN.filter((key) => site[key] !== undefined).map((key) => [key, site[key]] as const)
  return Object.fromEntries(shown) as unknown as AttentionSite
}
