/** A decomposition: named subspaces of heads, saved as one `.safetensors` file and loaded again. */

import { QkError } from '../errors.js'
import { checkChoice, checkOptions } from '../validate.js'
import { checkResultInfo } from './reading/result-schema.js'
import { headDimOf, type ResultInfo } from './result-info.js'
import { type ResultRow, resultRow } from './result-rows.js'
import { loadedSubspace, resultTensors } from './result-tensors.js'
import { readSafetensors } from './safetensors.js'
import { knownFormat, SAVE_FORMATS } from './saving/formats.js'
import {
  checkSavePath,
  type FileKind,
  refuseWithoutTensors,
  type SavedParts,
  saveParts,
} from './saving/saved-file.js'
import type { ContrastSubspace } from './subspace.js'
import { RESULT_COLUMNS } from './tables/result-columns.js'
import { tableOf } from './tables/table.js'

export type { HeadInfo, RankRule, ResultInfo, SavedSite } from './result-info.js'
export type { ContrastSubspace, MeanAttention } from './subspace.js'

/** One head of a result. */
export class HeadResult {
  constructor(
    /** Name of the head, as in `L16H1`. */
    readonly name: string,
    private readonly contrasts: ReadonlyMap<string, ContrastSubspace>,
  ) {}

  /** Contrasts of the head, in the order of the result. */
  get contrastNames(): string[] {
    return [...this.contrasts.keys()]
  }

  /** Errors: ERR_UNKNOWN_CONTRAST. */
  contrast(name: string): ContrastSubspace {
    const found = this.contrasts.get(name)
    if (!found) {
      throw new QkError('ERR_UNKNOWN_CONTRAST', `head ${this.name} has no contrast "${name}"`, {
        hint: `It has ${this.contrastNames.map((n) => `"${n}"`).join(', ')}.`,
      })
    }
    return found
  }
}

/** How tensors are stored. */
export interface SaveOptions {
  /** Element type of the stored tensors, of `.safetensors` and `.npz`; default f64. */
  dtype?: 'f32' | 'f64'
}

const SAVE_OPTIONS = { dtype: true } satisfies Record<keyof SaveOptions, true>

/** The document of a `.json` file: the inputs and settings of the result, and its rows. */
export type ResultDocument = Omit<ResultInfo, 'heads'> & {
  /** One row for each head and contrast. */
  rows: ResultRow[]
}

const RESULT_FILE: FileKind = {
  name: 'a result',
  formats: SAVE_FORMATS,
  format: 'qkspace-result',
  csvStart: RESULT_COLUMNS.slice(0, 3)
    .map(({ name }) => name)
    .join(','),
}

/** Subspaces of every head and contrast, with inputs and settings; `decompose` and `loadResult` return it. */
export class Result {
  constructor(
    /** Inputs and settings. */
    readonly info: ResultInfo,
    private readonly heads: ReadonlyMap<string, ReadonlyMap<string, ContrastSubspace>>,
  ) {}

  /** Names of all heads, in the order of the model. */
  get headNames(): string[] {
    return [...this.heads.keys()]
  }

  /** Names of all contrasts, in the order of the prompt set. */
  get contrastNames(): string[] {
    return this.info.prompts.contrasts
  }

  /** A head by name, as in `L16H1` or `16.1`. Errors: ERR_UNKNOWN_HEAD. */
  head(name: string): HeadResult {
    const canonical = name.replace(/^((?:enc|dec|cross)\.)?(\d+)\.(\d+)$/, '$1L$2H$3')
    const contrasts = this.heads.get(canonical)
    if (!contrasts) {
      const names = this.headNames
      throw new QkError('ERR_UNKNOWN_HEAD', `the result has no head ${name}`, {
        hint: `It has ${names.length > 12 ? `${names.slice(0, 12).join(', ')}, ...` : names.join(', ')}.`,
      })
    }
    return new HeadResult(canonical, contrasts)
  }

  /**
   * One row for each head and contrast: heads in the order of the model, contrasts in the order of the prompt set.
   */
  toRows(): ResultRow[] {
    return [...this.heads].flatMap(([head, contrasts]) =>
      [...contrasts].map(([contrast, subspace]) => resultRow(head, contrast, subspace, this.info.rank)),
    )
  }

  /** Content of a `.json` file. */
  toJSON(): ResultDocument {
    const { heads: _, ...info } = this.info
    return { ...info, rows: this.toRows() }
  }

  /** Content of `.safetensors` and `.npz` files. */
  tensorParts(dtype: 'f32' | 'f64' = 'f64'): Pick<SavedParts, 'tensors' | 'metadata'> {
    return {
      tensors: () => resultTensors(this.heads, dtype),
      metadata: () => ({ format: this.info.format, qkspace: JSON.stringify(this.info) }),
    }
  }

  /**
   * Writes the format that the file's ending names; a name without an ending is `.safetensors`.
   *
   * `.safetensors` holds everything, and `loadResult` reads it: tensors `L16H1.order.u`, `.s`, `.v` (and `.spectrum`,
   * `.c_pos`, `.c_neg`, `.null_u`, `.null_v`, `.mean_query`, `.key_components` where kept; the last four in f32), with
   * `info` as JSON in the metadata. `.npz` holds the same tensors by the same names, and `info` as JSON in the array
   * `qkspace`. `.json` holds `toJSON()`, `.csv` and `.parquet` the rows of `toRows()`.
   *
   * Errors: ERR_ARGUMENT for another ending, or a `dtype` where no tensors are stored; ERR_FILE; nothing is left behind.
   */
  async save(file: string, options: SaveOptions = {}): Promise<void> {
    checkOptions(options, SAVE_OPTIONS, 'save')
    checkChoice(options.dtype ?? 'f64', 'dtype', ['f32', 'f64'])
    await checkResultPath(file)
    refuseWithoutTensors(file, 'dtype', options.dtype, RESULT_FILE)
    await saveParts(file, RESULT_FILE, {
      ...this.tensorParts(options.dtype),
      document: () => this.toJSON(),
      table: () => tableOf(RESULT_COLUMNS, this.toRows()),
    })
  }
}

/**
 * Checks that a result can be written here: the folder exists, and an existing file is a result of this format.
 * Errors: ERR_FILE; ERR_ARGUMENT for an ending that is no format.
 */
export async function checkResultPath(file: string): Promise<void> {
  await checkSavePath(file, RESULT_FILE)
}

/** Loads what `Result.save` wrote as `.safetensors`. Errors: ERR_FILE, ERR_FORMAT. */
export async function loadResult(file: string): Promise<Result> {
  const format = knownFormat(file, SAVE_FORMATS) ?? 'safetensors'
  if (format !== 'safetensors') {
    throw new QkError('ERR_FORMAT', `${file} is a .${format} file; results are loaded from .safetensors`, {
      hint: 'Decompose again and save as .safetensors, which carries everything.',
    })
  }
  const { tensors, metadata } = await readSafetensors(file)
  const info = parseInfo(file, metadata.qkspace)
  const heads = new Map<string, Map<string, ContrastSubspace>>()
  for (const [head, contrasts] of Object.entries(info.heads)) {
    const loaded = Object.entries(contrasts).map(([contrast, rest]): [string, ContrastSubspace] => {
      return [contrast, loadedSubspace(file, tensors, `${head}.${contrast}`, rest, headDimOf(info, head))]
    })
    heads.set(head, new Map(loaded))
  }
  return new Result(info, heads)
}

function parseInfo(file: string, json: string | undefined): ResultInfo {
  let info: unknown
  try {
    info = json === undefined ? undefined : JSON.parse(json)
  } catch {
    // Reported below.
  }
  const { format, formatVersion } = (info ?? {}) as Partial<ResultInfo>
  if (format !== 'qkspace-result') {
    throw new QkError('ERR_FORMAT', `${file} is a safetensors file, but not a result of qkspace`)
  }
  if (formatVersion !== 1) {
    throw new QkError('ERR_FORMAT', `${file} has the format version ${formatVersion}; this version reads 1`)
  }
  return checkResultInfo(file, info)
}
