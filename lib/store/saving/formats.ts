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

/**
 * Checks that a name ends as files of its kind do, or has no ending: a slip of the hand must not put a page where a text is
 * meant to be. `what` names the kind. Errors: ERR_ARGUMENT, with the list.
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

/** A name without an ending is `.safetensors`. Errors: ERR_ARGUMENT, with the list. */
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
