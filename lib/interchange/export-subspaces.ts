/** Exports subspaces of a result in the shapes for hooks of TransformerLens, nnsight and pyvene. */

import { QkError } from '../errors.js'
import { Result, type SavedSite } from '../store/result.js'
import type { StoredTensor } from '../store/safetensors.js'
import { checkSavePath, type FileKind, saveParts } from '../store/saving/saved-file.js'
import { checkChoice, checkOptions } from '../validate.js'
import {
  headArrays,
  hookArrays,
  type LayerSubspaces,
  moduleArrays,
  type SideBases,
  sideBases,
} from './subspace-arrays.js'

/** The tool whose hooks take the arrays. Each tool has its own names and shapes. */
export type ExportTarget = 'transformer-lens' | 'nnsight' | 'pyvene'

/** Options of `exportSubspaces`. */
export interface ExportOptions {
  /** Tool whose names and shapes the arrays have; default 'transformer-lens'. */
  for?: ExportTarget
  /** Default the only contrast of the result. */
  contrast?: string
  /** Names as in `L3H0`; default all heads with a subspace. */
  heads?: readonly string[]
}

/** Description of the arrays; stored as JSON beside them. */
export interface ExportInfo {
  /** Marks the file as exported subspaces. */
  format: 'qkspace-subspaces'
  /** Version of the layout. */
  formatVersion: 1
  /** The tool whose names and shapes the arrays have. */
  for: ExportTarget
  /** Contrast of the subspaces. */
  contrast: string
  /** Ranks of the exported heads. */
  ranks: Record<string, number>
  /** Number of null subspaces beside each subspace. 0 if the result has none. */
  nulls: number
  /** The model's file, as in the result. */
  model: Result['info']['model']
  /** The prompt set, as in the result. */
  prompts: Pick<Result['info']['prompts'], 'source' | 'sha256' | 'prompts'>
  /** Versions of the software that made the result. */
  versions: Record<string, string>
}

/** Subspaces as arrays, with their description. */
export interface ExportedSubspaces {
  /** Description of the arrays. */
  info: ExportInfo
  /** By name, row-major: bases in float64, null subspaces in float32. */
  arrays: Map<string, StoredTensor>
}

export const EXPORT_TARGETS: readonly ExportTarget[] = ['transformer-lens', 'nnsight', 'pyvene']

const OPTIONS = { for: true, contrast: true, heads: true } satisfies Record<keyof ExportOptions, true>

const LAYOUTS: Record<ExportTarget, (side: SideBases) => [string, StoredTensor][]> = {
  'transformer-lens': hookArrays,
  nnsight: moduleArrays,
  pyvene: headArrays,
}

/**
 * Bases of one contrast: U on the side of queries, V on that of keys, with the null subspaces that the result has. Where
 * keys are grouped, a key head has the span of V of all exported query heads that read it.
 *
 * - `transformer-lens`: by hook name, `blocks.3.attn.hook_rot_q` [head, d, width], padded with columns of zeros
 * - `nnsight`: `layers.3.q_proj.output` [heads * d, columns], for the output of the projection
 * - `pyvene`: `layers.3.head_query_output.0` [d, rank], a head each
 *
 * nnsight and pyvene act on the output of the projection, which a rotation by position follows in many models: the
 * subspaces lie behind it, so that layers with rotation are refused there.
 *
 * Errors: ERR_ARGUMENT, ERR_TYPE, ERR_UNKNOWN_HEAD, ERR_UNKNOWN_CONTRAST.
 */
export function exportSubspaces(result: Result, options: ExportOptions = {}): ExportedSubspaces {
  if (!(result instanceof Result)) {
    throw new QkError('ERR_TYPE', 'exportSubspaces takes what `decompose` or `loadResult` returns')
  }
  checkOptions(options, OPTIONS, 'exportSubspaces')
  if (options.heads !== undefined && !Array.isArray(options.heads)) {
    throw new QkError('ERR_TYPE', "heads must be an array of names, as in ['L3H0']")
  }
  const target = checkChoice(options.for ?? 'transformer-lens', 'for', EXPORT_TARGETS)
  const contrast = contrastOf(result, options.contrast)
  const chosen = headsOf(result, contrast, options.heads)
  const layers = layersOf(result, contrast, chosen)
  if (target !== 'transformer-lens') {
    refuseRotary(layers, target)
  }
  const sides = layers.flatMap((layer) => [sideBases(layer, 'q'), sideBases(layer, 'k')])
  const arrays = new Map(sides.flatMap(LAYOUTS[target]))
  const { model, prompts, versions } = result.info
  const info: ExportInfo = {
    format: 'qkspace-subspaces',
    formatVersion: 1,
    for: target,
    contrast,
    ranks: Object.fromEntries(chosen.map((head) => [head, result.head(head).contrast(contrast).rank])),
    nulls: Math.min(...sides.map(({ nulls }) => nulls.length)),
    model,
    prompts: { source: prompts.source, sha256: prompts.sha256, prompts: prompts.prompts },
    versions,
  }
  return { info, arrays }
}

const EXPORT_FILE: FileKind = {
  name: 'exported subspaces',
  formats: ['safetensors', 'npz'],
  format: 'qkspace-subspaces',
}

/** Checks that subspaces can be written here. Errors: ERR_FILE, ERR_ARGUMENT. */
export async function checkExportPath(file: string): Promise<void> {
  await checkSavePath(file, EXPORT_FILE)
}

/** Writes `.npz` or `.safetensors`, `info` as JSON under `qkspace`. Errors: ERR_ARGUMENT, ERR_FILE; nothing is left behind. */
export async function writeSubspaces(file: string, { info, arrays }: ExportedSubspaces): Promise<void> {
  await saveParts(file, EXPORT_FILE, {
    tensors: () => arrays,
    metadata: () => ({ format: info.format, qkspace: JSON.stringify(info) }),
  })
}

function contrastOf(result: Result, asked: string | undefined): string {
  const names = result.contrastNames
  if (asked !== undefined) {
    return asked
  }
  if (names.length === 1) {
    return names[0]
  }
  throw new QkError(
    'ERR_ARGUMENT',
    `the result has ${names.length} contrasts, and one is exported at a time`,
    {
      hint: `Name one of ${names.map((name) => `"${name}"`).join(', ')}.`,
    },
  )
}

/** Canonical names, in the order of the result. */
function headsOf(result: Result, contrast: string, asked: readonly string[] | undefined): string[] {
  const named = asked && new Set(asked.map((name) => result.head(name).name))
  const chosen = result.headNames.filter((head) => named?.has(head) ?? true)
  const found = chosen.filter((head) => result.head(head).contrast(contrast).rank > 0)
  const flat = chosen.find((head) => !found.includes(head))
  if (named && flat !== undefined) {
    throw new QkError('ERR_ARGUMENT', `${flat} has no subspace of "${contrast}": its rank is 0`, {
      hint: 'Leave it out, or decompose with another rank rule.',
    })
  }
  if (found.length > 0) {
    return found
  }
  throw new QkError(
    'ERR_ARGUMENT',
    `no head of the result has a subspace of "${contrast}": all ranks are 0`,
    {
      hint: 'Take more prompts, or decompose with another rank rule.',
    },
  )
}

function layersOf(result: Result, contrast: string, heads: readonly string[]): LayerSubspaces[] {
  return result.info.sites.flatMap((site) => {
    const prefix = `${site.kind ? `${site.kind}.` : ''}L${site.layer}H`
    const own = heads.filter((head) => head.startsWith(prefix) && /^\d+$/.test(head.slice(prefix.length)))
    if (own.length === 0) {
      return []
    }
    const subspaces = own.map((head) => {
      return [Number(head.slice(prefix.length)), result.head(head).contrast(contrast)] as const
    })
    return [{ site, heads: new Map(subspaces) }]
  })
}

const isRotary = ({ rotary, hooks }: SavedSite) => rotary === true || hooks.q.endsWith('hook_rot_q')

/** Errors: ERR_ARGUMENT. */
function refuseRotary(layers: readonly LayerSubspaces[], target: ExportTarget): void {
  const rotary = layers.filter(({ site }) => isRotary(site))
  if (rotary.length === 0) {
    return
  }
  const names = rotary.map(({ site }) => `${site.kind ? `${site.kind}.` : ''}${site.layer}`).join(', ')
  throw new QkError(
    'ERR_ARGUMENT',
    `layer${rotary.length === 1 ? '' : 's'} ${names}: queries and keys are rotated by position, and ${target} acts before the rotation`,
    {
      hint: 'The subspaces lie behind it. Export for transformer-lens, whose hook_rot_q and hook_rot_k are there.',
    },
  )
}
