/** The formats that files are saved in, told by the ending of the name. */

import path from 'node:path'
import { QkError } from '../../errors.js'

export type SaveFormat = 'safetensors' | 'npz' | 'json' | 'csv' | 'parquet'

export const SAVE_FORMATS: readonly SaveFormat[] = ['safetensors', 'npz', 'json', 'csv', 'parquet']

/** The ending with its dot; empty where there is none. */
const endingOf = (file: string): string => path.extname(`${file}`)

/** Of a name with a known ending; undefined where it has another one, or none. */
export function knownFormat<F extends SaveFormat>(file: string, formats: readonly F[]): F | undefined {
  const ending = endingOf(file).slice(1).toLowerCase()
  return formats.find((format) => format === ending)
}

/** A name without an ending is `.safetensors`. Errors: ERR_ARGUMENT, with the list. */
export function formatOf<F extends SaveFormat>(file: string, formats: readonly F[]): F | 'safetensors' {
  if (endingOf(file) === '') return 'safetensors'
  const found = knownFormat(file, formats)
  if (found) return found
  throw new QkError('ERR_ARGUMENT', `${file} ends in ${endingOf(file)}, which is no format to save in`, {
    hint: `Formats: ${formats.map((format) => `.${format}`).join(', ')}.`,
  })
}
