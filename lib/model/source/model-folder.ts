/**
 * A folder with a model: a local folder, or a folder of a partly downloaded repository. Paths inside it are written
 * with `/`.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { QkError } from '../../errors.js'

export interface ModelFolder {
  /** As the user named it. */
  readonly name: string
  /** Its `.onnx` files, and those of its folder `onnx`, where transformers.js keeps them. */
  readonly models: readonly string[]
  has(file: string): boolean
  /** Errors: ERR_FILE, and those of a download. */
  read(file: string): Promise<string>
}

export const ONNX_FOLDER = 'onnx'

/** Whether a path in a folder is one of its models. */
export function isModel(file: string): boolean {
  const [first, second, ...more] = file.split('/')
  return file.endsWith('.onnx') && more.length === 0 && (second === undefined || first === ONNX_FOLDER)
}

/** A folder on the disk. Errors: ERR_FILE. */
export function folderOnDisk(folder: string): ModelFolder {
  const at = (file: string) => path.join(folder, file)
  const listed = [
    ...namesIn(folder),
    ...(isFolder(at(ONNX_FOLDER)) ? namesIn(at(ONNX_FOLDER)).map((name) => `${ONNX_FOLDER}/${name}`) : []),
  ]
  return {
    name: folder,
    models: listed.filter((file) => isModel(file) && isFile(at(file))).sort(),
    has: (file) => isFile(at(file)),
    read: async (file) => readText(at(file)),
  }
}

export function isFile(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isFile() ?? false
}

export function isFolder(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isDirectory() ?? false
}

/** Errors: ERR_FILE. */
export function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new QkError('ERR_FILE', `cannot open ${file}: ${(cause as Error).message}`, { cause })
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (cause) {
    throw new QkError('ERR_FILE', `cannot list ${folder}: ${(cause as Error).message}`, { cause })
  }
}
