/** Chooses the `.onnx` file of a folder: the named one, the one with a given number type, or the default. */

import path from 'node:path'
import { QkError } from '../../errors.js'
import { type ModelDtype, splitName } from './dtypes.js'
import { type ModelFolder, ONNX_FOLDER } from './model-folder.js'

export interface ModelChoice {
  /**
   * Number type of the weights, by the suffix of the file's name: `fp32` (none), `fp16`, `q8` (`_quantized`), `int8`,
   * `uint8`, `q4`, `q4f16` or `bnb4`. Default: the file without a suffix, or the only file.
   */
  dtype?: ModelDtype
  /** Path of the file inside the folder, or its name if it lies in the folder `onnx`. */
  file?: string
}

/** File that names the model's file in folders of onnxruntime-genai. */
export const GENAI_CONFIG = 'genai_config.json'

/** Name of a folder's main model. Others, such as `encoder_model`, are parts of a model. */
const MAIN = 'model'

/** Path of the chosen file in the folder. Errors: ERR_ARGUMENT, ERR_FILE, ERR_FORMAT. */
export async function chooseModel(folder: ModelFolder, { dtype, file }: ModelChoice): Promise<string> {
  if (file !== undefined) {
    return namedFile(folder, file)
  }
  const genai = folder.has(GENAI_CONFIG) ? await genaiFile(folder, dtype) : undefined
  if (genai !== undefined && dtype === undefined) {
    return genai
  }
  if (folder.models.length === 0) {
    throw new QkError('ERR_FILE', `${folder.name} has no .onnx file, nor has its folder ${ONNX_FOLDER}`, {
      hint: 'Give the folder that has one, or the path of the file.',
    })
  }
  // The name of a file of onnxruntime-genai does not tell its number type.
  const models = folder.models.filter((one) => one !== genai)
  const fitting = models.filter((one) => splitName(one).dtype === (dtype ?? 'fp32'))
  if (fitting.length === 0) {
    if (dtype === undefined && models.length === 1) {
      return models[0]
    }
    const what = dtype === undefined ? 'no default model' : `no model of dtype ${dtype}`
    throw unchosen(dtype === undefined ? 'ERR_ARGUMENT' : 'ERR_FILE', folder, what, folder.models)
  }
  const main = fitting.filter((one) => splitName(one).stem === MAIN)
  const [chosen, ...others] = main.length > 0 ? main : fitting
  if (others.length === 0) {
    return chosen
  }
  const of = dtype === undefined ? '' : ` of dtype ${dtype}`
  throw unchosen(
    'ERR_ARGUMENT',
    folder,
    `${others.length + 1} models${of}, none of which is the default`,
    dtype === undefined ? folder.models : fitting,
  )
}

/** Errors: ERR_ARGUMENT where the path leaves the folder, ERR_FILE where there is no such file. */
function namedFile(folder: ModelFolder, file: string): string {
  const normal = insideFolder(file)
  if (normal === undefined) {
    throw new QkError('ERR_ARGUMENT', `file is '${file}', expected a path inside ${folder.name}`)
  }
  const found = [normal, `${ONNX_FOLDER}/${normal}`].find((one) => folder.has(one))
  if (found === undefined) {
    throw unchosen('ERR_FILE', folder, `no file ${file}`, folder.models)
  }
  return found
}

/** The path in its shortest form, with `/`. Undefined if it leads out of the folder. */
function insideFolder(file: string): string | undefined {
  const normal = path.posix.normalize(file.replaceAll('\\', '/'))
  const leaves = normal.startsWith('../') || normal === '..' || normal === '.'
  return leaves || path.posix.isAbsolute(normal) || path.win32.isAbsolute(file) ? undefined : normal
}

/** The file that `genai_config.json` names. Errors: ERR_FORMAT, ERR_FILE. */
async function genaiFile(folder: ModelFolder, dtype: ModelDtype | undefined): Promise<string | undefined> {
  const shown = `${GENAI_CONFIG} of ${folder.name}`
  let named: unknown
  try {
    named = JSON.parse(await folder.read(GENAI_CONFIG))?.model?.decoder?.filename
  } catch (cause) {
    if (cause instanceof QkError) {
      throw cause
    }
    throw new QkError('ERR_FORMAT', `${shown} is not JSON: ${(cause as Error).message}`, { cause })
  }
  const hint = 'Choose a file of the folder with { file } (--file).'
  if (typeof named !== 'string') {
    // A pipeline of several models has no single decoder, but the number type may still identify the file.
    if (dtype !== undefined) {
      return undefined
    }
    throw new QkError('ERR_FORMAT', `${shown} has no model.decoder.filename`, { hint })
  }
  const normal = insideFolder(named)
  if (normal === undefined) {
    throw new QkError('ERR_FORMAT', `${shown} names ${named}, which is not inside the folder`, { hint })
  }
  if (!folder.has(normal)) {
    throw new QkError('ERR_FILE', `${shown} names ${named}, and there is no such file`, { hint })
  }
  return normal
}

/** An error that lists the files and explains how to choose. */
function unchosen(
  code: 'ERR_ARGUMENT' | 'ERR_FILE',
  folder: ModelFolder,
  what: string,
  models: readonly string[],
): QkError {
  const lines = models.map((file) => `\n  ${file} (dtype ${splitName(file).dtype})`)
  const [example] = models
  return new QkError(
    code,
    `${folder.name} has ${what}${lines.length > 0 ? `; it has${lines.join('')}` : ''}`,
    {
      hint:
        example === undefined
          ? undefined
          : `Choose by dtype, as in { dtype: '${splitName(example).dtype}' } (--dtype ${splitName(example).dtype}), ` +
            `or by file, as in { file: '${example}' } (--file ${example}).`,
    },
  )
}
