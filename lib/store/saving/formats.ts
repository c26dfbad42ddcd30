/** File formats for saving, determined by the ending of the file name. */

import path from 'node:path'
import { QkError } from '../../errors.js'

export type SaveFormat = 'safetensors' | 'npz' | 'json' | 'csv' | 'parquet'

export const SAVE_FORMATS: readonly SaveFormat[] = ['safetensors', 'npz', 'json', 'csv', 'parquet']

/** The ending with its dot. Empty if there is none. */
const endingOf = (file: string): string => path.extname(`${file}`)

/** The format of a name with a known ending. Undefined for any other name. */
export function knownFormat<F extends SaveFormat>(file: string, formats: readonly F[]): F | undefined {
  const ending = endingOf(file).slice(1).toLowerCase()
  return formats.find((format) => format === ending)
}

/**
 * Checks that a name has an ending of its kind, or none. A mistyped name must not put a page where a text belongs.
 * `what` names the kind. Errors: ERR_ARGUMENT, with the list of endings.
 */
export function checkEnding(file: string, what: string, endings: readonly string[]): void {
  const ending = endingOf(file)
  if (ending === '' || endings.includes(ending.toLowerCase())) {
    return
  }
  throw new QkError(
    'ERR_ARGUMENT',
    `${file} ends in ${ending}, and ${what} is saved as ${endings.join(' or ')}`,
    {
      hint: `Give it the ending ${endings[0]}.`,
    },
  )
}

/**
 * The format of a file name; `.safetensors` if the name has no ending. Errors: ERR_ARGUMENT, with the list of
 * formats.
 */
export function formatOf<F extends SaveFormat>(file: string, formats: readonly F[]): F | 'safetensors' {
  if (endingOf(file) === '') {
    return 'safetensors'
  }
  const found = knownFormat(file, formats)
  if (found) {
    return found
  }
  throw new QkError('ERR_ARGUMENT', `${file} ends in ${endingOf(file)}, which is no format to save in`, {
    hint: `Formats: ${formats.map((format) => `.${format}`).join(', ')}.`,
  })
}
