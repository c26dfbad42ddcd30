/**
 * Several GPUs of one machine as one backend. Heads are divided among the devices (matrices, where there are no heads),
 * and each device computes its own as it would all of them: results have the bits of one device. The devices work side
 * by side, each from a lane of its own in the addon.
 */

import { QkError } from '../../errors.js'
import type { Addon } from '../addon-types.js'
import type {
  Backend,
  BackendCovariance,
  BackendDescription,
  CovarianceSpec,
  DeviceTimings,
  FlipsRequest,
  NamedBackend,
  ResidentHandle,
  RowTensor,
  SvdArrays,
  SvdRequest,
  SvdResult,
  UploadRequest,
} from '../backend.js'
import { checkFlips } from '../check.js'
import { svdArrays } from '../js-svd.js'
import type { NativeBackend } from '../native.js'
import { divided, dividedHeads, gather, headsWithin, scatter } from './head-split.js'
import { partsOf, ResidentParts } from './resident-parts.js'
import { SeveralCovariance } from './several-covariance.js'
import { together } from './together.js'

export class SeveralDevices implements Backend {
  readonly name = 'cuda'
  readonly #addon: Addon
  readonly #devices: readonly NativeBackend[]

  /** Errors: ERR_BACKEND if two of them are one device. */
  constructor(
    readonly choice: NamedBackend,
    addon: Addon,
    devices: readonly NativeBackend[],
  ) {
    this.#addon = addon
    this.#devices = devices
    const seen = new Map<string, NativeBackend>()
    for (const device of devices) {
      const { uuid } = device.describe().device!
      const before = seen.get(uuid)
      if (before) {
        throw new QkError(
          'ERR_BACKEND',
          `'${choice}' names ${uuid} twice, as ${before.choice} and ${device.choice}`,
        )
      }
      seen.set(uuid, device)
    }
  }

  describe(): BackendDescription {
    const each = this.#devices.map((device) => device.describe())
    return {
      ...each[0],
      choice: this.choice,
      instructionSet: [...new Set(each.map(({ instructionSet }) => instructionSet))].join(', '),
      threads: each.reduce((sum, { threads }) => sum + threads, 0),
      devices: each.map(({ device }) => device!),
    }
  }

  async timings(): Promise<DeviceTimings> {
    const each = await Promise.all(this.#devices.map((device) => device.timings()))
    return {
      arithmeticMs: Math.max(...each.map(({ arithmeticMs }) => arithmeticMs)),
      copyMs: Math.max(...each.map(({ copyMs }) => copyMs)),
      copyBytes: each.reduce((sum, { copyBytes }) => sum + copyBytes, 0),
    }
  }

  covariance(spec: CovarianceSpec): BackendCovariance {
    return new SeveralCovariance(this.#addon, this.#devices, spec)
  }

  /** Copies data once into memory that all devices read, unless it is shared already; `owned` changes nothing. */
  async upload(tensor: RowTensor, { signal, keyHeads }: UploadRequest = {}): Promise<ResidentHandle> {
    const heads = tensor.shape[2]
    const groups = keyHeads ?? heads
    if (groups > 0 && heads % groups !== 0) {
      throw new QkError('ERR_ARGUMENT', `keyHeads (${groups}) does not divide the ${heads} heads`)
    }
    const ranges = dividedHeads(heads, groups, this.#devices.length)
    const data = shared(tensor.data)
    const parts: (ResidentHandle | undefined)[] = ranges.map(() => undefined)
    try {
      await together(
        this.#devices.map(async (device, i) => {
          const { first, count } = ranges[i]
          if (count === 0) {
            return
          }
          const [batch, pos, , d] = tensor.shape
          const view = data.subarray(first * tensor.strides[2])
          parts[i] = await device.upload({ ...tensor, data: view, shape: [batch, pos, count, d] }, { signal })
        }),
      )
    } catch (error) {
      this.#release(parts)
      throw error
    }
    return new ResidentParts(ranges, parts)
  }

  release(handle: ResidentHandle): void {
    this.#release((handle as ResidentParts).parts)
  }

  #release(parts: readonly (ResidentHandle | undefined)[]): void {
    for (const [i, part] of parts.entries()) {
      if (part) {
        this.#devices[i].release(part)
      }
    }
  }

  async largestOfFlips(request: FlipsRequest, signal?: AbortSignal): Promise<Float64Array> {
    checkFlips(request)
    const { q, k, heads, draws, removed, components = 1 } = request
    const [kvHeads, d] = k.shape.slice(2)
    const count = this.#devices.length
    const ranges = dividedHeads(q.shape[2], kvHeads, count)
    const keyRanges = dividedHeads(kvHeads, kvHeads, count)
    const [qParts, kParts] = [partsOf(q, ranges, 'q').parts, partsOf(k, keyRanges, 'k').parts]
    const each = ranges
      .map((range, i) => ({ i, range, ...headsWithin(heads, range) }))
      .filter(({ own }) => own.length > 0)
    const found = await together(
      each.map(({ i, range, places, own }) => {
        const basis = (all: Float64Array) => gather(all, places, d * removed!.rank)
        const of = (tensor: RowTensor, heads: number, resident: ResidentHandle | undefined): RowTensor => {
          const [batch, pos] = tensor.shape
          return { ...tensor, shape: [batch, pos, heads, d], resident }
        }
        return this.#devices[i].largestOfFlips(
          {
            ...request,
            q: of(q, range.count, qParts[i]),
            k: of(k, keyRanges[i].count, kParts[i]),
            heads: Int32Array.from(own),
            removed: removed && { rank: removed.rank, u: basis(removed.u), v: basis(removed.v) },
          },
          signal,
        )
      }),
    )
    const values = new Float64Array(heads.length * draws * components)
    for (const [i, { places }] of each.entries()) {
      scatter(values, found[i], places, draws * components)
    }
    return values
  }

  /**
   * Matrices are divided by their number, in runs. Where the width is known, the devices write into the one result;
   * by energy, the widest run decides it.
   */
  async svd(request: SvdRequest, signal?: AbortSignal): Promise<SvdResult<Float32Array | Float64Array>> {
    const { matrices, n, rows, cols, energy, rank } = request
    const size = rows * cols
    const most = Math.min(rows, cols)
    const all = energy === undefined ? svdArrays(request, Math.min(rank ?? most, most)) : undefined
    const runs = divided(n, this.#devices.length).filter(({ count }, i) => count > 0 || i === 0)
    const found = await together(
      runs.map(({ first, count }, i) => {
        const own = matrices.subarray(first * size, (first + count) * size)
        const part = { ...request, matrices: own, n: count, out: all && partOf(all, [first, count], n) }
        return this.#devices[i].svd(part, signal).catch((error) => {
          throw ofAllMatrices(error, first)
        })
      }),
    )
    const maxRank = Math.max(...found.map((part) => part.maxRank))
    return { maxRank, ...summaries(found, n), ...(all ?? joined(found, request, maxRank)) }
  }
}

/** What of the vectors of `n` matrices belongs to `count` of them. */
function partOf(
  all: SvdArrays<Float32Array | Float64Array>,
  [first, count]: readonly [number, number],
  n: number,
): SvdArrays<Float32Array | Float64Array> {
  const part = (array: Float32Array | Float64Array) => {
    const each = n > 0 ? array.length / n : 0
    return array.subarray(first * each, (first + count) * each)
  }
  return { u: part(all.u), s: part(all.s), v: part(all.v) }
}

/** Numbers of matrices in the messages of a device count from its first one. */
function ofAllMatrices(error: QkError, first: number): QkError {
  const message = error.message.replace(/^matrix (\d+) /, (_, m) => `matrix ${first + Number(m)} `)
  return new QkError(error.code, message, { ...(error.hint && { hint: error.hint }), cause: error })
}

type Results = readonly SvdResult<Float32Array | Float64Array>[]

/** Figures of all matrices, one run after another. */
function summaries(found: Results, n: number) {
  const all = {
    ranks: new Int32Array(n),
    totalEnergy: new Float64Array(n),
    errorBound: new Float64Array(n),
    converged: new Uint8Array(n),
  }
  let first = 0
  for (const part of found) {
    for (const what of ['ranks', 'totalEnergy', 'errorBound', 'converged'] as const) {
      all[what].set(part[what], first)
    }
    first += part.ranks.length
  }
  return all
}

/** Vectors one run after another, as wide as the widest. */
function joined(
  found: Results,
  request: SvdRequest,
  maxRank: number,
): SvdArrays<Float32Array | Float64Array> {
  const all = svdArrays(request, maxRank)
  let first = 0
  for (const part of found) {
    for (const [to, from, side] of [
      [all.u, part.u, request.rows],
      [all.s, part.s, 1],
      [all.v, part.v, request.cols],
    ] as const) {
      widen(to, from, first * side, part.ranks.length * side, part.maxRank, maxRank)
    }
    first += part.ranks.length
  }
  return all
}

/** Copies `count` rows of `width` elements to rows of `wide`, from row `first` on. */
function widen(
  to: Float32Array | Float64Array,
  from: Float32Array | Float64Array,
  first: number,
  count: number,
  width: number,
  wide: number,
): void {
  if (width === wide) {
    to.set(from, first * wide)
    return
  }
  for (let row = 0; row < count; row++) {
    to.set(from.subarray(row * width, (row + 1) * width), (first + row) * wide)
  }
}

/** Errors: ERR_OUT_OF_MEMORY. */
function shared<T extends Float32Array | Uint16Array>(data: T): T {
  if (data.buffer instanceof SharedArrayBuffer) {
    return data
  }
  const Type = data.constructor as new (buffer: SharedArrayBuffer) => T
  try {
    const copy = new Type(new SharedArrayBuffer(data.byteLength))
    copy.set(data)
    return copy
  } catch (cause) {
    throw new QkError('ERR_OUT_OF_MEMORY', `no memory to copy ${data.byteLength} bytes`, { cause })
  }
}
