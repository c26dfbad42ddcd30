/**
 * Null matrices of explicit terms: D_b = sum_u (+-) D_u, the contribution of each unit with a random sign
 * (docs/method.md, Rank 3). Every head, layer and contrast on the same units has the same signs.
 */

import type { Backend, ResidentHandle, RowTensor } from '../../../backend/backend.js'
import { cooperator } from '../../../backend/cooperate.js'
import { leastPOfSigns } from '../../../contrast/unit-limits.js'
import { contiguousStrides } from '../../../math/tensor.js'
import type { UnitKey } from '../../../math/unit-hash.js'
import { flipMatrices } from './flip-matrices.js'
import { type FlipRows, flipRows, type UnitRows } from './flip-rows.js'
import {
  type Hypothesis,
  type NullData,
  type NullSource,
  ROUNDING,
  type ValuesRequest,
} from './null-source.js'
import { type SideMoments, sideMoments } from './side-moments.js'
import { OneSidedSigns, signedSums } from './signed-sums.js'
import { drawnFlips } from './signs.js'

/** Properties of rows that are known before they are loaded. */
export interface FlipInfo extends Sizes {
  units: readonly UnitKey[]
  /** By the design of the contrast, a unit's contribution is as likely as its negative. */
  symmetric: boolean
}

export class FlipData implements NullData {
  readonly heads: number
  readonly headDim: number
  readonly units: readonly UnitKey[]
  readonly assumesSymmetry: boolean
  readonly leastP: number

  /** `load` gives the rows, which are not kept between two sources. Data of the same seed may share `oneSided`. */
  constructor(
    private readonly backend: Backend,
    private readonly info: FlipInfo,
    private readonly load: () => Promise<UnitRows>,
    private readonly seed: number,
    private readonly oneSided = new OneSidedSigns(seed),
  ) {
    this.heads = info.heads
    this.headDim = info.headDim
    this.units = info.units
    this.assumesSymmetry = !info.symmetric
    this.leastP = leastPOfSigns(info.units.length)
  }

  async source(hypothesis: Hypothesis, keep?: (unit: UnitKey) => boolean): Promise<NullSource> {
    const rows = await flipRows(await this.load(), hypothesis, keep)
    return FlipSource.open(this.backend, rows, this.info, this.seed, this.oneSided)
  }
}

/** Rows that are in memory already. */
export function flipData(backend: Backend, rows: UnitRows, seed: number, symmetric: boolean): FlipData {
  const { heads, kvHeads, headDim, unitKeys: units } = rows
  return new FlipData(backend, { heads, kvHeads, headDim, units, symmetric }, async () => rows, seed)
}

interface Sizes {
  heads: number
  kvHeads: number
  headDim: number
}

class FlipSource implements NullSource {
  readonly heads: number
  readonly headDim: number
  readonly units: readonly UnitKey[]

  private constructor(
    private readonly backend: Backend,
    private readonly rows: FlipRows,
    private readonly sizes: Sizes,
    private readonly seed: number,
    private readonly oneSided: OneSidedSigns,
    private readonly tensors: { q: RowTensor; k: RowTensor } | undefined,
  ) {
    this.heads = sizes.heads
    this.headDim = sizes.headDim
    this.units = rows.keys
  }

  static async open(
    backend: Backend,
    rows: FlipRows,
    sizes: Sizes,
    seed: number,
    oneSided: OneSidedSigns,
  ): Promise<FlipSource> {
    if (rows.rows === 0) {
      return new FlipSource(backend, rows, sizes, seed, oneSided, undefined)
    }
    const resident = async (data: Float32Array, heads: number): Promise<RowTensor> => {
      const shape = [1, rows.rows, heads, sizes.headDim] as const
      const strides = contiguousStrides(shape) as unknown as RowTensor['strides']
      const tensor: RowTensor = { data, dtype: 'f32', shape, strides }
      return {
        ...tensor,
        data: data.subarray(0, 0),
        resident: await backend.upload(tensor, { keyHeads: sizes.kvHeads }),
      }
    }
    const q = await resident(rows.q, sizes.heads)
    try {
      const k = await resident(rows.k, sizes.kvHeads)
      return new FlipSource(backend, rows, sizes, seed, oneSided, { q, k })
    } catch (error) {
      backend.release(q.resident as ResidentHandle)
      throw error
    }
  }

  nullFactor(head: number): number {
    return this.rows.nullFactors[head]
  }

  resolution(head: number): number {
    return ROUNDING * this.rows.magnitude[head]
  }

  async observed(heads: readonly number[], signal?: AbortSignal): Promise<Float64Array> {
    const { headDim: d, rows } = this
    const out = new Float64Array(heads.length * d * d)
    const pause = cooperator(signal)
    for (let h = 0; h < heads.length; h++) {
      for (let r = 0; r < rows.rows; r++) {
        const [q, k] = this.#at(r, heads[h])
        for (let i = 0; i < d; i++) {
          const by = rows.coefficients[r] * rows.q[q + i]
          const at = (h * d + i) * d
          for (let j = 0; j < d; j++) {
            out[at + j] += by * rows.k[k + j]
          }
        }
        if (r % 64 === 0) {
          await pause()
        }
      }
    }
    return out
  }

  async matrices(
    heads: readonly number[],
    from: number,
    to: number,
    signal?: AbortSignal,
  ): Promise<Float64Array> {
    const flips = await drawnFlips(this.seed, this.units, [from, to], undefined, signal)
    return flipMatrices(this.rows, this.sizes, heads, flips, to - from, this.backend.choice, signal)
  }

  sides(head: number): Promise<SideMoments> {
    return sideMoments({ ...this.sizes, q: this.rows.q, k: this.rows.k }, head, !this.rows.differences)
  }

  async values(request: ValuesRequest): Promise<Float64Array> {
    const { heads, from, to, removed, components, signal } = request
    const { rows, tensors, units } = this
    if (!tensors) {
      return new Float64Array(heads.length * (to - from) * components)
    }
    return this.backend.largestOfFlips(
      {
        q: tensors.q,
        k: tensors.k,
        heads: Int32Array.from(heads),
        coefficients: rows.coefficients,
        units: rows.units,
        unitCount: units.length,
        flips: await drawnFlips(this.seed, units, [from, to], undefined, signal),
        draws: to - from,
        removed,
        components,
      },
      signal,
    )
  }

  async contributions(
    head: number,
    u: Float64Array,
    v: Float64Array,
    columns: number,
    signal?: AbortSignal,
  ): Promise<Float64Array> {
    const pause = cooperator(signal)
    const { rows, headDim: d, units } = this
    const out = new Float64Array(columns * units.length)
    const [left, right] = [new Float64Array(columns), new Float64Array(columns)]
    for (let r = 0; r < rows.rows; r++) {
      if (r % 64 === 0) {
        await pause()
      }
      const [q, k] = this.#at(r, head)
      left.fill(0)
      right.fill(0)
      for (let i = 0; i < d; i++) {
        for (let c = 0; c < columns; c++) {
          left[c] += rows.q[q + i] * u[i * columns + c]
          right[c] += rows.k[k + i] * v[i * columns + c]
        }
      }
      for (let c = 0; c < columns; c++) {
        out[c * units.length + rows.units[r]] += rows.coefficients[r] * left[c] * right[c]
      }
    }
    return out
  }

  async directed(
    head: number,
    u: Float64Array,
    v: Float64Array,
    draws: number,
    signal?: AbortSignal,
  ): Promise<Float64Array> {
    const each = await this.contributions(head, u, v, 1, signal)
    return signedSums(each, await this.oneSided.of(this.units, draws, signal), signal)
  }

  release(): void {
    if (!this.tensors) {
      return
    }
    this.backend.release(this.tensors.q.resident as ResidentHandle)
    this.backend.release(this.tensors.k.resident as ResidentHandle)
  }

  /** Offsets of a head's row in q and in k. */
  #at(row: number, head: number): [number, number] {
    const { heads, kvHeads, headDim: d } = this.sizes
    return [(row * heads + head) * d, (row * kvHeads + Math.floor(head / (heads / kvHeads))) * d]
  }
}
