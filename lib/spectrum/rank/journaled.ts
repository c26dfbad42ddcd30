/** Stores null values as they are drawn, so that a test that is killed does not draw them again. */

import { createHash } from 'node:crypto'
import type { KeptDraws } from '../../covariance/checkpointing.js'
import type { UnitKey } from '../../math/unit-hash.js'
import type { Hypothesis, NullData, NullSource, ValuesRequest } from './exchange/null-source.js'

/** Inputs of draws besides the units, the hypothesis and the request. */
export interface DrawOrigin {
  /** Index of the group of heads over all sites. */
  group: number
  contrast: number
  seed: number
}

/** The same data, with stored draws. */
export function journaled(data: NullData, origin: DrawOrigin, kept: KeptDraws): NullData {
  return {
    heads: data.heads,
    headDim: data.headDim,
    units: data.units,
    leastP: data.leastP,
    assumesSymmetry: data.assumesSymmetry,
    source: async (hypothesis, keep) => {
      const source = await data.source(hypothesis, keep)
      return new JournaledSource(source, keyOf(source.units, hypothesis, origin), kept)
    },
  }
}

function keyOf(units: readonly UnitKey[], hypothesis: Hypothesis, origin: DrawOrigin): string {
  const words = Uint32Array.from(units.flat())
  return JSON.stringify({ ...origin, hypothesis, units: createHash('sha256').update(words).digest('hex') })
}

class JournaledSource implements NullSource {
  readonly heads: number
  readonly headDim: number
  readonly units: readonly UnitKey[]
  readonly nullFactor: NullSource['nullFactor']
  readonly resolution: NullSource['resolution']
  readonly observed: NullSource['observed']
  readonly contributions: NullSource['contributions']
  readonly directed: NullSource['directed']
  readonly matrices: NullSource['matrices']
  readonly sides: NullSource['sides']
  readonly release: NullSource['release']

  constructor(
    private readonly source: NullSource,
    private readonly key: string,
    private readonly kept: KeptDraws,
  ) {
    this.heads = source.heads
    this.headDim = source.headDim
    this.units = source.units
    this.nullFactor = (head) => source.nullFactor(head)
    this.resolution = (head) => source.resolution(head)
    this.observed = (...args) => source.observed(...args)
    this.contributions = (...args) => source.contributions(...args)
    this.directed = (...args) => source.directed(...args)
    this.matrices = (...args) => source.matrices(...args)
    this.sides = (head) => source.sides(head)
    this.release = () => source.release()
  }

  values(request: ValuesRequest): Promise<Float64Array> {
    const { heads, from, to, components, removed } = request
    const hash = createHash('sha256')
    if (removed) {
      hash.update(removed.u).update(removed.v)
    }
    const asked = JSON.stringify({ heads, from, to, components, removed: removed ? hash.digest('hex') : '' })
    return this.kept.draws(`${this.key} ${asked}`, () => this.source.values(request))
  }
}
