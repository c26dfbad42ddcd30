/** Reads queries and keys that another tool captured, for `QKCovariance` and `testRank`. */

import { totalmem } from 'node:os'
import { CAPTURE_FORMAT, type CaptureInfo } from '../capture/one-prompt/write-captures.js'
import type { TensorInput } from '../covariance/row-tensor.js'
import { QkError } from '../errors.js'
import type { Dtype } from '../math/tensor.js'
import { checkArrayMemory } from '../store/array-memory.js'
import * as s from '../store/reading/schema.js'
import { withSafetensors } from '../store/safetensors.js'
import { formatOf } from '../store/saving/formats.js'
import { readNpz } from '../store/zip/read-npz.js'
import { checkInteger, checkOptions, counted } from '../validate.js'
import { parseHookName } from './hook-names.js'

/** Options of `readActivations`. */
export interface ReadActivationsOptions {
  /** Layers to read, by number; default: all in the file. */
  layers?: readonly number[]
  /** Most bytes of arrays; more are refused before reading. Default: half of the machine's memory. */
  memoryLimit?: number
}

/** Queries and keys of one layer. */
export interface LayerActivations {
  /** Number of the layer, from 0. */
  layer: number
  /** `enc`, `dec` or `cross`, if the names contain it. */
  kind?: string
  /** Names of the arrays. */
  hooks: {
    /** Name of the array of queries. */
    q: string
    /** Name of the array of keys. */
    k: string
  }
  /** Whether they were captured after rotation by position. */
  rotary: boolean
  /** [batch, pos, head, d]; row b * pos + t, as terms count rows. */
  q: TensorInput
  /** Shape [batch, pos, key head, d]; as many heads, or a divisor of them where keys are grouped. */
  k: TensorInput
}

const OPTIONS = { layers: true, memoryLimit: true } satisfies Record<keyof ReadActivationsOptions, true>

/**
 * Reads queries and keys from a `.safetensors` or `.npz` file with TransformerLens names and shapes, such as an
 * `ActivationCache`: `blocks.L.attn.hook_rot_q` and `hook_rot_k`, or `hook_q` and `hook_k` without rotation. If a
 * layer has both, the rotated ones are read, since they enter the scores. Other arrays are ignored.
 *
 * Types are f32, f16 and, in safetensors, bf16. Layers come in order. Files of `writeCaptures` can be read if they
 * have a single prompt and query heads that share their key heads evenly.
 *
 * Errors: ERR_ARGUMENT, ERR_TYPE, ERR_FILE, ERR_FORMAT (a damaged file, another type, a pickle), ERR_SHAPE,
 * ERR_MEMORY_LIMIT.
 */
export async function readActivations(
  file: string,
  options: ReadActivationsOptions = {},
): Promise<LayerActivations[]> {
  checkOptions(options, OPTIONS, 'readActivations')
  const { layers, memoryLimit = totalmem() / 2 } = options
  if (!(memoryLimit >= 0)) {
    throw new QkError('ERR_ARGUMENT', `memoryLimit is ${memoryLimit}, expected a number of bytes`)
  }
  if (layers !== undefined && !Array.isArray(layers)) {
    throw new QkError('ERR_TYPE', 'layers must be an array of numbers, as in [0, 3]')
  }
  for (const layer of layers ?? []) {
    checkInteger(layer, 'a layer', 0)
  }
  const format = formatOf(file, ['safetensors', 'npz'])
  const isAsked = (name: string) => {
    const hook = parseHookName(name)
    return hook !== undefined && (layers === undefined || layers.includes(hook.layer))
  }
  // Names are checked first, so that unused arrays are not read.
  const plan = (names: readonly string[]) => planned(names.filter(isAsked), names, file, layers)
  const { pairs, tensors } =
    format === 'npz' ? await fromNpz(file, plan, memoryLimit) : await fromSafetensors(file, plan, memoryLimit)
  return pairs.map((pair) => layerOf(pair, tensors, file))
}

interface Pair {
  layer: number
  kind?: string
  rotary: boolean
  q: string
  k: string
}

/** Pairs of names by layer. Errors: ERR_FORMAT if there is none, or if one name has no counterpart. */
function planned(
  names: readonly string[],
  all: readonly string[],
  file: string,
  layers: readonly number[] | undefined,
): Pair[] {
  const bySite = new Map<string, string[]>()
  for (const name of names) {
    const prefix = name.slice(0, name.lastIndexOf('.'))
    bySite.set(prefix, [...(bySite.get(prefix) ?? []), name])
  }
  const pairs = [...bySite].map(([prefix, own]): Pair => {
    const rotary = own.some((name) => parseHookName(name)!.rotary)
    const [q, k] = ['q', 'k'].map((side) => `${prefix}.hook_${rotary ? 'rot_' : ''}${side}`)
    const missing = [q, k].find((name) => !own.includes(name))
    if (missing) {
      throw new QkError('ERR_FORMAT', `${file} has ${missing === q ? k : q} and no ${missing}`, {
        hint: 'Scores are products of queries and keys that are both rotated, or both not: save both hooks.',
      })
    }
    const { layer, kind } = parseHookName(q)!
    return { layer, ...(kind && { kind }), rotary, q, k }
  })
  if (pairs.length === 0) {
    throw noneFound(file, all, layers)
  }
  const missing = layers?.find((layer) => !pairs.some((pair) => pair.layer === layer))
  if (missing !== undefined) {
    throw new QkError('ERR_FORMAT', `${file} has no queries and keys of layer ${missing}`, {
      hint: `It has layers ${pairs.map(({ layer }) => layer).join(', ')}.`,
    })
  }
  return pairs.sort((a, b) => (a.kind ?? '').localeCompare(b.kind ?? '') || a.layer - b.layer)
}

const SHOWN_NAMES = 4

function noneFound(file: string, all: readonly string[], layers: readonly number[] | undefined): QkError {
  const of = layers ? ` of layer ${layers.join(', ')}` : ''
  const shown = all.slice(0, SHOWN_NAMES).join(', ')
  return new QkError('ERR_FORMAT', `${file} has no queries and keys${of} by TransformerLens names`, {
    hint:
      'Name arrays blocks.3.attn.hook_rot_q and blocks.3.attn.hook_rot_k, or hook_q and hook_k without rotation. ' +
      (all.length === 0
        ? 'It holds no arrays.'
        : `It holds ${shown}${all.length > SHOWN_NAMES ? ', ...' : '.'}`),
  })
}

interface Read {
  pairs: Pair[]
  tensors: Map<string, Required<Pick<TensorInput, 'data' | 'dtype' | 'shape'>>>
}

type Plan = (names: readonly string[]) => Pair[]

const SAFETENSORS_TYPES: Record<string, Dtype | undefined> = { F32: 'f32', F16: 'f16', BF16: 'bf16' }
const NPY_TYPES: Record<string, Dtype | undefined> = { '<f4': 'f32', '<f2': 'f16' }

function wrongType(file: string, name: string, type: string, known: Record<string, unknown>): QkError {
  return new QkError('ERR_FORMAT', `${name} of ${file} has the type ${type}`, {
    hint: `Types that can be read: ${Object.keys(known).join(', ')}. Convert it before it is saved, as in x.astype('float32').`,
  })
}

async function fromSafetensors(file: string, plan: Plan, limit: number): Promise<Read> {
  return withSafetensors(file, async ({ entries, read, metadata }) => {
    const captured = metadata.format === CAPTURE_FORMAT ? captureInfo(file, metadata.qkspace) : undefined
    if (captured && captured.prompts.length > 1) {
      throw severalPrompts(file, captured)
    }
    const pairs = plan(entries.map(({ name }) => name))
    for (const pair of pairs) {
      checkGroups(file, pair, captured)
    }
    const names = new Set(pairs.flatMap(({ q, k }) => [q, k]))
    const wanted = entries.filter(({ name }) => names.has(name))
    const wrong = wanted.find(({ dtype }) => !SAFETENSORS_TYPES[dtype])
    if (wrong) {
      throw wrongType(file, wrong.name, wrong.dtype, SAFETENSORS_TYPES)
    }
    checkArrayMemory(
      file,
      wanted.map(({ bytes }) => bytes),
      limit,
    )
    const tensors: Read['tensors'] = new Map()
    for (const entry of wanted) {
      const dtype = SAFETENSORS_TYPES[entry.dtype]!
      const buffer = await read(entry)
      const data = dtype === 'f32' ? new Float32Array(buffer) : new Uint16Array(buffer)
      tensors.set(entry.name, { data, dtype, shape: entry.shape })
    }
    return { pairs, tensors }
  })
}

/** The fields of a captures document that are read here. */
const captureDocument = s.fields({
  sites: s.list(
    s.fields({ heads: s.texts, kvHeads: s.counts, keyHeads: s.counts, hooks: s.fields({ q: s.text }) }),
  ),
  prompts: s.list(s.anyObject),
})

/** Errors: ERR_FORMAT. */
function captureInfo(file: string, json: string | undefined): CaptureInfo {
  const misfit = s.misfitOf(`${file}: metadata`, 'The file is damaged: capture again.')
  let info: unknown
  try {
    info = JSON.parse(json ?? '')
  } catch {
    throw misfit('', 'is not JSON')
  }
  s.checkDocument(captureDocument, info, misfit)
  return info as CaptureInfo
}

function severalPrompts(file: string, { prompts }: CaptureInfo): QkError {
  return new QkError(
    'ERR_FORMAT',
    `${file} holds captures of ${counted(prompts.length, 'prompt')}, and rows of one are read`,
    {
      hint: 'Capture one prompt a file; `accumulate` takes whole prompt sets.',
    },
  )
}

/**
 * Checks the groups of a layer. If only some heads were captured, groups may be uneven, which the rows alone do not
 * show. Errors: ERR_SHAPE.
 */
function checkGroups(file: string, { q }: Pair, captured: CaptureInfo | undefined): void {
  const site = captured?.sites.find(({ hooks }) => hooks.q === q)
  if (!site) {
    return
  }
  const { heads, kvHeads, keyHeads } = site
  const group = heads.length / kvHeads.length
  if (Number.isInteger(group) && keyHeads.every((place, h) => place === Math.floor(h / group))) {
    return
  }
  throw new QkError(
    'ERR_SHAPE',
    `the heads ${heads.join(', ')} of ${file} do not share their key heads evenly`,
    {
      hint: 'Capture as many query heads of every key head, or all of them.',
    },
  )
}

async function fromNpz(file: string, plan: Plan, limit: number): Promise<Read> {
  let pairs: Pair[] = []
  const arrays = await readNpz(
    file,
    (names) => {
      pairs = plan(names)
      return pairs.flatMap(({ q, k }) => [q, k])
    },
    limit,
  )
  const tensors: Read['tensors'] = new Map()
  for (const [name, { descr, shape, data }] of arrays) {
    const dtype = NPY_TYPES[descr]
    if (!dtype) {
      throw wrongType(file, name, descr, NPY_TYPES)
    }
    tensors.set(name, { data: data as Float32Array | Uint16Array, dtype, shape })
  }
  return { pairs, tensors }
}

function layerOf(
  { layer, kind, rotary, q, k }: Pair,
  tensors: Read['tensors'],
  file: string,
): LayerActivations {
  const [queries, keys] = [q, k].map((name) => {
    const tensor = tensors.get(name)!
    const { shape } = tensor
    if (shape.length !== 4 || shape.includes(0)) {
      throw new QkError(
        'ERR_SHAPE',
        `${name} of ${file} has the shape [${shape.join(', ')}], expected [batch, pos, head, d]`,
        { hint: shape.length === 3 ? 'Save it with its batch axis, as in x[None].' : undefined },
      )
    }
    return tensor
  })
  const [a, b] = [queries.shape, keys.shape]
  const wrong =
    a[0] !== b[0]
      ? `${a[0]} and ${counted(b[0], 'sequence')}`
      : a[3] !== b[3]
        ? `the head dimensions ${a[3]} and ${b[3]}`
        : a[2] % b[2] !== 0
          ? `${a[2]} query heads, which ${b[2]} key heads do not divide`
          : undefined
  if (wrong) {
    throw new QkError('ERR_SHAPE', `${q} and ${k} of ${file} have ${wrong}`)
  }
  return { layer, ...(kind && { kind }), hooks: { q, k }, rotary, q: queries, k: keys }
}
