/** A decomposition: named subspaces of heads, saved as one `.safetensors` file and loaded again. */

import { QkError } from '../errors.js'
import { checkChoice, checkOptions } from '../validate.js'
import { checkReplaceable, fileStart } from './atomic-file.js'
import type { NullSubspaces, PlainDirections } from './controls.js'
import type { HeldOut } from './held-out.js'
import type { RankTest } from './rank-test.js'
import { readSafetensors, type StoredTensor, writeSafetensors } from './safetensors.js'

/** One contrast of one head: ΔC ≈ U diag(s) V^T (design: "Subspaces"). */
export interface ContrastSubspace {
  /** Query-side basis, [d, rank], row-major, orthonormal columns. */
  u: Float64Array
  /** Singular values, [rank], descending. */
  s: Float64Array
  /** Key-side basis, [d, rank], row-major, orthonormal columns; v itself, not its transpose. */
  v: Float64Array
  headDim: number
  rank: number
  /** ||ΔC||_F^2 */
  totalEnergy: number
  /** Mean scaled score of the positive keys less that of the negative ones: scale * trace(ΔC). */
  scoreGap: number
  /** Upper bound of ||ΔC - U diag(s) V^T||_F / ||ΔC||_F. */
  errorBound: number
  /** Whether the decomposition met its accuracy contract. */
  converged: boolean
  /** Terms that went in. */
  terms: number
  /** Label-matched queries that were left out because one of their sets was empty. */
  skipped: number
  /** Absent where it was not measured, or could not be followed in the graph. */
  attention?: MeanAttention
  /** Of a sweep, on units that did not fit the subspace; of discovered heads. */
  heldOut?: HeldOut
  /** Under the rule `permutation`: p-values, draws, ranks, replication. */
  test?: RankTest
  /** Subspaces that exchanged prompts give, and directions without any contrast; where rows were kept and the rank is not 0. */
  nulls?: NullSubspaces
  directions?: PlainDirections
  /** All singular values of ΔC, [d], descending, where they were asked for; the first of them are `s`. */
  spectrum?: Float64Array
  /** C+ and C-, [d, d], where they were asked for. */
  cPos?: Float64Array
  cNeg?: Float64Array
}

/** Attention of the terms' queries on their keys: fractions, means over terms. */
export interface MeanAttention {
  /** On all positive keys of a term together, and on all negative ones. */
  positive: number
  negative: number
  /** On one positive and on one negative key, which can be compared where the sets have different sizes. */
  perPositive: number
  perNegative: number
}

/** What a result was made from; stored as JSON in the file's metadata. */
export interface ResultInfo {
  format: 'qkspace-result'
  formatVersion: 1
  model: {
    path: string
    sha256: string
    files: { name: string; sha256: string }[]
    /** Of a model that was downloaded from the Hugging Face Hub; absent in results of earlier versions. */
    hub?: { repo: string; revision: string; commit: string; file: string }
  }
  prompts: {
    source: string
    sha256: string
    prompts: number
    contrasts: string[]
    /** How each contrast is defined, with its first prompt as an example. */
    definitions: Record<string, { rule: string; prompts: number; example: unknown }>
  }
  estimator: string
  /** How prompts shared batches: 'padded', 'equal length' or 'alone'; absent in results of earlier versions. */
  sharing?: string
  center: boolean
  rank: RankRule
  seed: number
  backend: { name: string; instructionSet: string }
  versions: Record<string, string>
  sites: SavedSite[]
  /** What may be wrong without being an error, where there was such. */
  warnings?: string[]
  /** By head and contrast, what is not a tensor. */
  heads: Record<string, Record<string, HeadInfo>>
}

export type RankRule =
  | {
      rule: 'permutation'
      /** Level of the test, and of the false discovery rate over heads and contrasts; default 0.05. */
      alpha?: number
      /** Draws that every head has, default 199; and that a head may have at most, default 99,999. */
      draws?: number
      mostDraws?: number
    }
  | { rule: 'energy'; threshold: number }
  | { rule: 'fixed'; rank: number }

export interface SavedSite {
  layer: number
  kind?: string
  heads: number
  kvHeads: number
  headDim: number
  /** Or what kind of numbers: 'per head', 'per query', 'computed'. */
  scale: number | string
  /** Names of the hooks whose queries and keys were captured. */
  hooks: { q: string; k: string }
  /** ||S - S'||_F / ||S||_F of the capture check, on the first prompt. */
  relativeError: number
  [more: string]: unknown
}

export type HeadInfo = Pick<
  ContrastSubspace,
  | 'rank'
  | 'totalEnergy'
  | 'scoreGap'
  | 'errorBound'
  | 'converged'
  | 'terms'
  | 'skipped'
  | 'attention'
  | 'heldOut'
  | 'test'
>

/** A model as a reader knows it: the name of its file, and of the Hub's files, most of which are called alike, all of it. */
export function modelName({ path, hub }: ResultInfo['model']): string {
  return hub ? `${hub.repo}/${hub.file}` : path.split(/[\\/]/).at(-1)!
}

/** One head of a result. */
export class HeadResult {
  constructor(
    readonly name: string,
    private readonly contrasts: ReadonlyMap<string, ContrastSubspace>,
  ) {}

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

export interface SaveOptions {
  /** Element type of the stored tensors; default f64. */
  dtype?: 'f32' | 'f64'
}

const SAVE_OPTIONS = { dtype: true } satisfies Record<keyof SaveOptions, true>

export class Result {
  constructor(
    readonly info: ResultInfo,
    private readonly heads: ReadonlyMap<string, ReadonlyMap<string, ContrastSubspace>>,
  ) {}

  get headNames(): string[] {
    return [...this.heads.keys()]
  }

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
   * Writes `L16H1.order.u`, `.s`, `.v` (and `.spectrum`, `.c_pos`, `.c_neg`, `.null_u`, `.null_v`, `.mean_query`,
   * `.key_components` where kept; the last four in f32), with `info` as JSON in the metadata. Errors: ERR_FILE; nothing is left behind.
   */
  async save(file: string, options: SaveOptions = {}): Promise<void> {
    checkOptions(options, SAVE_OPTIONS, 'save')
    checkChoice(options.dtype ?? 'f64', 'dtype', ['f32', 'f64'])
    await checkResultPath(file)
    const as = (data: Float64Array) => (options.dtype === 'f32' ? Float32Array.from(data) : data)
    const tensors: [string, StoredTensor][] = []
    for (const [head, contrasts] of this.heads) {
      for (const [contrast, subspace] of contrasts) {
        const { u, s, v, rank, headDim: d, spectrum, cPos, cNeg, nulls, directions } = subspace
        const name = `${head}.${contrast}`
        tensors.push([`${name}.u`, { data: as(u), shape: [d, rank] }])
        tensors.push([`${name}.s`, { data: as(s), shape: [rank] }])
        tensors.push([`${name}.v`, { data: as(v), shape: [d, rank] }])
        if (spectrum) tensors.push([`${name}.spectrum`, { data: as(spectrum), shape: [spectrum.length] }])
        if (cPos) tensors.push([`${name}.c_pos`, { data: as(cPos), shape: [d, d] }])
        // Controls are random draws: 24 bits of them are enough.
        if (nulls) {
          const shape = [nulls.count, d, rank]
          tensors.push([`${name}.null_u`, { data: Float32Array.from(nulls.u), shape }])
          tensors.push([`${name}.null_v`, { data: Float32Array.from(nulls.v), shape }])
        }
        if (directions) {
          const { meanQuery, keyComponents } = directions
          const width = keyComponents.length / d
          tensors.push([`${name}.mean_query`, { data: Float32Array.from(meanQuery), shape: [d] }])
          tensors.push([
            `${name}.key_components`,
            { data: Float32Array.from(keyComponents), shape: [d, width] },
          ])
        }
        if (cNeg) tensors.push([`${name}.c_neg`, { data: as(cNeg), shape: [d, d] }])
      }
    }
    await writeSafetensors(file, tensors, { format: this.info.format, qkspace: JSON.stringify(this.info) })
  }
}

/**
 * Checks that a result may be written here: the folder exists, and what is there already, if anything, is
 * such a result, so that a slip of the hand does not overwrite a model's weights or a prompt set. Errors: ERR_FILE.
 */
export async function checkResultPath(file: string): Promise<void> {
  await checkReplaceable(file, 'a result', async () =>
    (await fileStart(file, 64)).toString('latin1').includes('qkspace-result'),
  )
}

/** Loads what `Result.save` wrote. Errors: ERR_FILE, ERR_FORMAT. */
export async function loadResult(file: string): Promise<Result> {
  const { tensors, metadata } = await readSafetensors(file)
  const info = parseInfo(file, metadata.qkspace)
  const heads = new Map<string, Map<string, ContrastSubspace>>()
  for (const [head, contrasts] of Object.entries(info.heads)) {
    const loaded = new Map<string, ContrastSubspace>()
    for (const [contrast, rest] of Object.entries(contrasts)) {
      const read = (part: string): StoredTensor | undefined => tensors.get(`${head}.${contrast}.${part}`)
      const need = (part: string): StoredTensor => {
        const tensor = read(part)
        if (!tensor) throw new QkError('ERR_FORMAT', `${file} lacks the tensor ${head}.${contrast}.${part}`)
        return tensor
      }
      const u = need('u')
      const kept = (part: string) => {
        const tensor = read(part)
        return tensor && Float64Array.from(tensor.data)
      }
      loaded.set(contrast, {
        ...rest,
        u: Float64Array.from(u.data),
        s: Float64Array.from(need('s').data),
        v: Float64Array.from(need('v').data),
        headDim: u.shape[0],
        ...(read('spectrum') && { spectrum: kept('spectrum') }),
        ...controls(kept, read('null_u')?.shape[0]),
        cPos: kept('c_pos'),
        cNeg: kept('c_neg'),
      })
    }
    heads.set(head, loaded)
  }
  return new Result(info, heads)
}

/** Controls of a subspace, in files that have them. */
function controls(
  kept: (part: string) => Float64Array | undefined,
  count: number | undefined,
): Pick<ContrastSubspace, 'nulls' | 'directions'> {
  const [u, v] = [kept('null_u'), kept('null_v')]
  const [meanQuery, keyComponents] = [kept('mean_query'), kept('key_components')]
  return {
    ...(count !== undefined && u && v && { nulls: { count, u, v } }),
    ...(meanQuery && keyComponents && { directions: { meanQuery, keyComponents } }),
  }
}

function parseInfo(file: string, json: string | undefined): ResultInfo {
  let info: ResultInfo | undefined
  try {
    info = json === undefined ? undefined : JSON.parse(json)
  } catch {
    // Reported below.
  }
  if (info?.format !== 'qkspace-result' || typeof info.heads !== 'object') {
    throw new QkError('ERR_FORMAT', `${file} is a safetensors file, but not a result of qkspace`)
  }
  if (info.formatVersion !== 1) {
    throw new QkError(
      'ERR_FORMAT',
      `${file} has the format version ${info.formatVersion}; this version reads 1`,
    )
  }
  return info
}
