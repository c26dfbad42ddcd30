/**
 * Resolves the user's name of a model (a file, a folder, an id of the Hugging Face Hub) to the file that is opened.
 */

import path from 'node:path'
import { QkError } from '../../errors.js'
import { checkChoice, kindOf } from '../../validate.js'
import { isHubId } from '../hub/hub-id.js'
import type { DownloadOptions } from '../hub/repository.js'
import { chooseModel, type ModelChoice } from './choose-model.js'
import { MODEL_DTYPES } from './dtypes.js'
import { findTokenizer } from './find-tokenizer.js'
import { type HubOrigin, hubCompanions, hubModel } from './hub-model.js'
import { folderOnDisk, isFolder } from './model-folder.js'

export interface ModelSource {
  /** Path of the `.onnx` file. */
  path: string
  /** Path of the `tokenizer.json` that lies with it, if any does. */
  tokenizer?: string
  hub?: HubOrigin
}

/**
 * Errors: ERR_TYPE, ERR_ARGUMENT, ERR_FILE, ERR_FORMAT; of the Hub also ERR_HUB, ERR_NETWORK, ERR_CHECKSUM, ERR_ABORTED,
 * ERR_NOT_ONNX.
 */
export async function resolveSource(
  given: string,
  choice: ModelChoice,
  options: DownloadOptions,
): Promise<ModelSource> {
  const { dtype, file } = choice
  if (typeof given !== 'string') {
    throw new QkError('ERR_TYPE', `a model is a path or an id, as in hf:org/name, got ${kindOf(given)}`, {
      hint: "Name it: openModel('model.onnx'), the path of a folder, or openModel('hf:org/name').",
    })
  }
  if (given === '') {
    throw new QkError('ERR_ARGUMENT', 'a model is a path or an id, as in hf:org/name, got an empty text')
  }
  if (file !== undefined && typeof file !== 'string') {
    throw new QkError('ERR_TYPE', `file must be a path inside the folder, got ${typeof file}`)
  }
  if (dtype !== undefined) {
    checkChoice(dtype, 'dtype', MODEL_DTYPES)
  }
  if (dtype !== undefined && file !== undefined) {
    throw new QkError('ERR_ARGUMENT', 'dtype and file both choose a file of the folder', {
      hint: 'Give one of them.',
    })
  }
  if (isHubId(given)) {
    const { path: model, folder, hub } = await hubModel(given, choice, options)
    return { path: model, tokenizer: findTokenizer(model, folder), hub }
  }
  if (isFolder(given)) {
    const model = path.join(given, await chooseModel(folderOnDisk(given), choice))
    return { path: model, tokenizer: findTokenizer(model, given) }
  }
  if (dtype !== undefined || file !== undefined) {
    throw new QkError('ERR_ARGUMENT', `dtype and file choose inside a folder, and ${given} is none`, {
      hint: 'Give the folder, or leave them out.',
    })
  }
  return { path: given, tokenizer: findTokenizer(given) }
}

const TOKENIZER_CONFIG = 'tokenizer_config.json'

/**
 * Path of a `tokenizer_config.json`, from that path, a folder, or an id of the Hub. The file is not checked to exist.
 * Errors: those of `resolveSource`.
 */
export async function resolveTokenizerConfig(given: string, options: DownloadOptions = {}): Promise<string> {
  const folder = isHubId(given) ? await hubCompanions(given, options) : isFolder(given) ? given : undefined
  return folder === undefined ? given : path.join(folder, TOKENIZER_CONFIG)
}
