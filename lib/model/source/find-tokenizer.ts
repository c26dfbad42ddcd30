/** Finds the tokenizer in the usual places beside a model. */

import path from 'node:path'
import { isFile, ONNX_FOLDER } from './model-folder.js'

const NAME = 'tokenizer.json'

/**
 * Path of the `tokenizer.json` beside a model, in the parent of a folder `onnx`, or in the folder that the user named.
 * Undefined if there is none.
 */
export function findTokenizer(model: string, folder?: string): string | undefined {
  const own = path.dirname(model)
  const around = path.basename(path.resolve(own)) === ONNX_FOLDER ? [path.join(own, '..')] : []
  const places = [own, ...around, ...(folder === undefined ? [] : [folder])]
  return places.map((place) => path.join(place, NAME)).find(isFile)
}
