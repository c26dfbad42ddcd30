/** Reads the settings of a saved result or sweep, from any format that stores them, without the tensors. */

import { readFile } from 'node:fs/promises'
import { QkError } from '../errors.js'
import { withSafetensors } from '../store/safetensors.js'
import { knownFormat, SAVE_FORMATS } from '../store/saving/formats.js'
import { readNpzText } from '../store/zip/read-npz.js'

/** The parsed JSON parts of a file, whose content is not checked yet. */
export interface CitedSource {
  kind: 'result' | 'sweep'
  /** Document of a result or a sweep. */
  document: Record<string, unknown>
  /** For a sweep that is stored with its tensors: the fields that the result's own document lacks. */
  sweep?: Record<string, unknown>
}

const MOST_DOCUMENT = 2 ** 30

/** Errors: ERR_FILE, ERR_FORMAT. */
export async function readCitedSource(file: string): Promise<CitedSource> {
  const format = knownFormat(file, SAVE_FORMATS) ?? 'safetensors'
  if (format === 'csv' || format === 'parquet') {
    throw new QkError('ERR_FORMAT', `${file} holds rows, which do not say all that is to be cited`, {
      hint: 'Give the .safetensors, .npz or .json file of the same result or sweep.',
    })
  }
  if (format === 'json') {
    return sourceOf(file, parse(await text(file)))
  }
  const { qkspace, sweep } = format === 'npz' ? await fromNpz(file) : await fromSafetensors(file)
  return sourceOf(file, parse(qkspace), sweep === undefined ? undefined : parse(sweep))
}

async function text(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((cause) => {
    throw new QkError('ERR_FILE', `cannot read ${file}: ${(cause as Error).message}`, { cause })
  })
}

type Texts = { qkspace?: string; sweep?: string }

const fromSafetensors = (file: string): Promise<Texts> =>
  withSafetensors(file, async ({ metadata }) => metadata)

async function fromNpz(file: string): Promise<Texts> {
  const [qkspace, sweep] = await Promise.all(
    ['qkspace', 'sweep'].map((name) => readNpzText(file, name, MOST_DOCUMENT)),
  )
  return { qkspace, sweep }
}

/** Undefined if it is not a JSON object. */
function parse(json: unknown): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(json as string)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

function sourceOf(
  file: string,
  document: Record<string, unknown> | undefined,
  sweep?: Record<string, unknown>,
): CitedSource {
  if (document?.format === 'qkspace-sweep') {
    return { kind: 'sweep', document, sweep: document }
  }
  if (document?.format === 'qkspace-result') {
    return sweep ? { kind: 'sweep', document, sweep } : { kind: 'result', document }
  }
  throw new QkError('ERR_FORMAT', `${file} is not a result or a sweep of qkspace`, {
    hint: 'cite takes what `qkspace decompose --out` and `qkspace sweep --out` write.',
  })
}
