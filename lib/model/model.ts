/** Opens ONNX models, here or first in a process of its own, and describes what was found in them. */

import { checkFlag, checkOptions } from '../validate.js'
import { openInChild } from './isolation/open-in-child.js'
import { type OpenHereOptions, openHere } from './open-here.js'
import type { Model } from './opened-model.js'
import type { AttentionSite } from './sites/site.js'

export { describeUnsupported } from './open-here.js'
export { checkModel, Model, toleranceOf } from './opened-model.js'

export interface OpenOptions extends OpenHereOptions {
  /**
   * Opens the file in a child process first, where a crash of onnxruntime is only an error, and here only if that ends
   * well. For files of unknown origin; it takes twice as long, and the start of a process. False by default.
   */
  isolate?: boolean
}

const OPTIONS = { tokenizer: true, threads: true, sizes: true, isolate: true } satisfies Record<
  keyof OpenOptions,
  true
>

/**
 * Opens a model: reads its graph, finds its attention sites, runs a small synthetic probe to settle their
 * axes, and measures for each how well scores recomputed from its queries and keys match the model's own.
 *
 * Errors: ERR_ARGUMENT, ERR_TYPE, ERR_FILE, ERR_NOT_ONNX, ERR_NO_ATTENTION, ERR_INFERENCE, ERR_TOKENIZER,
 * ERR_UNSUPPORTED_MODEL.
 */
export async function openModel(path: string, options: OpenOptions = {}): Promise<Model> {
  checkOptions(options, OPTIONS, 'openModel')
  const { isolate = false, ...rest } = options
  if (checkFlag(isolate, 'isolate')) await openInChild(path, rest)
  return openHere(path, rest)
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
