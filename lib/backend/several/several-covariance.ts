/**
 * A covariance whose heads several devices have divided among them. Each device sums its own heads of every batch from
 * the same host memory, and no sum crosses devices, so that the bits are those of one device.
 */

import { abortedError, onAbort, QkError, throwIfAborted } from '../../errors.js'
import type { Addon, AddonHandle, AddonTensor } from '../addon-types.js'
import type {
  BackendCovariance,
  CovarianceBatch,
  CovarianceMoments,
  CovarianceSpec,
  RowTensor,
} from '../backend.js'
import { checkBatch, checkTensors } from '../check.js'
import { emptyMoments } from '../moments.js'
import {
  addonLabels,
  addonTensor,
  type NativeBackend,
  type NativeCovariance,
  newJob,
  wrapped,
} from '../native.js'
import { Slots } from '../slots.js'
import { dividedHeads, gather, type HeadRange, headsWithin, scatter } from './head-split.js'
import { partsOf } from './resident-parts.js'
import { together } from './together.js'

/** The heads of one device. */
interface Part {
  covariance: NativeCovariance
  /** Its number among the devices. */
  device: number
  heads: HeadRange
  keys: HeadRange
}

export class SeveralCovariance implements BackendCovariance {
  readonly #addon: Addon
  readonly #spec: CovarianceSpec
  readonly #heads: readonly HeadRange[]
  readonly #keys: readonly HeadRange[]
  readonly #parts: Part[] = []
  readonly #slots = new Slots()
  #broken: QkError | undefined

  constructor(addon: Addon, devices: readonly NativeBackend[], spec: CovarianceSpec) {
    this.#addon = addon
    this.#spec = spec
    this.#heads = dividedHeads(spec.heads, spec.kvHeads, devices.length)
    this.#keys = dividedHeads(spec.kvHeads, spec.kvHeads, devices.length)
    try {
      for (const [device, backend] of devices.entries()) {
        const [heads, keys] = [this.#heads[device], this.#keys[device]]
        if (heads.count > 0) {
          const own = { ...spec, heads: heads.count, kvHeads: keys.count }
          this.#parts.push({ covariance: backend.covariance(own), device, heads, keys })
        }
      }
    } catch (error) {
      this.dispose()
      throw error
    }
  }

  add(batch: CovarianceBatch, options: { signal?: AbortSignal; owned?: boolean } = {}): Promise<void> {
    return this.#slots.hold(() => this.#add(batch, options.signal, options.owned ?? false))
  }

  async #add(batch: CovarianceBatch, signal: AbortSignal | undefined, owned: boolean): Promise<void> {
    throwIfAborted(signal)
    this.#refuseIfBroken()
    // What follows names heads by their number within a part, and with `owned` the addon takes the buffers.
    checkTensors(this.#spec, batch)
    if (owned) {
      checkBatch(this.#spec, batch)
    }
    const job = newJob()
    let release = () => {}
    let settled: PromiseSettledResult<undefined>[]
    try {
      const promises = this.#addon.covarianceAddParts(
        job,
        this.#parts.map(({ covariance, heads, keys }) => ({
          handle: covariance.handle(),
          firstHead: heads.first,
          firstKeyHead: keys.first,
        })),
        {
          q: this.#tensor(batch.q, this.#heads, owned, 'q'),
          k: this.#tensor(batch.k, this.#keys, owned, 'k'),
          terms: batch.terms,
          labels: addonLabels(batch),
        },
      )
      // All parts have this number: they are cancelled together.
      release = onAbort(signal, () => this.#addon.cancel(job))
      settled = await Promise.allSettled(promises)
    } catch (error) {
      throw wrapped(error, signal)
    } finally {
      release()
    }
    this.#judge(settled, signal)
  }

  /** Parts agree to add before any of them adds, so one that failed was the first and the others followed it. */
  #judge(settled: readonly PromiseSettledResult<undefined>[], signal: AbortSignal | undefined): void {
    const failed = settled.flatMap((result, part) =>
      result.status === 'rejected' ? [{ part, error: result.reason as Error & { code?: string } }] : [],
    )
    if (failed.length === 0) {
      return
    }
    const first = failed.find(({ error }) => error.code !== 'ERR_ABORTED') ?? failed[0]
    if (failed.length < settled.length) {
      // A device failed while its sums joined, after all had agreed.
      this.#breaks(first.error)
    }
    if (first.error.code === 'ERR_ABORTED') {
      throw abortedError(signal)
    }
    throw wrapped(this.#ofAllHeads(first.error, this.#parts[first.part]), signal)
  }

  /** Numbers of heads in the messages of a device (`failNonFinite` of native/common) count from its first head. */
  #ofAllHeads(error: Error & { code?: string }, part: Part): Error {
    if (error.code !== 'ERR_NON_FINITE') {
      return error
    }
    const message = error.message.replace(/^([qk]) is not finite at head (\d+)/, (_, name, head) => {
      const { first } = name === 'q' ? part.heads : part.keys
      return `${name} is not finite at head ${first + Number(head)}`
    })
    return Object.assign(new Error(message), { code: error.code })
  }

  async merge(moments: CovarianceMoments): Promise<void> {
    this.#refuseIfBroken()
    const settled = await Promise.allSettled(
      this.#parts.map(({ covariance, heads }) => covariance.merge(this.#momentsOf(moments, heads))),
    )
    const failed = settled.filter((result) => result.status === 'rejected')
    if (failed.length === 0) {
      return
    }
    if (failed.length < settled.length) {
      this.#breaks(failed[0].reason)
    }
    throw failed[0].reason
  }

  async moments(heads?: readonly number[]): Promise<CovarianceMoments> {
    this.#refuseIfBroken()
    const { contrasts, headDim: d } = this.#spec
    const wanted = heads ?? Array.from({ length: this.#spec.heads }, (_, h) => h)
    // The first part is asked even for no heads: it knows the numbers of terms.
    const asked = this.#parts
      .map((part) => ({ part, ...headsWithin(wanted, part.heads) }))
      .filter(({ own }, i) => own.length > 0 || i === 0)
    const found = await together(asked.map(({ part, own }) => part.covariance.moments(own)))
    const all = emptyMoments(contrasts, wanted.length, d)
    all.terms.set(found[0].terms)
    all.skipped.set(found[0].skipped)
    for (const side of ['positive', 'negative'] as const) {
      all[side].weight.set(found[0][side].weight)
      for (const [what, length] of [
        ['q', d],
        ['k', d],
        ['qk', d * d],
      ] as const) {
        for (const [i, { places }] of asked.entries()) {
          for (let c = 0; c < contrasts; c++) {
            const from = found[i][side][what].subarray(c * places.length * length)
            scatter(all[side][what], from, places, length, c * wanted.length)
          }
        }
      }
    }
    return all
  }

  dispose(): void {
    for (const { covariance } of this.#parts) {
      covariance.dispose()
    }
  }

  /** The moments of the heads of a part. */
  #momentsOf(moments: CovarianceMoments, range: HeadRange): CovarianceMoments {
    const { contrasts, heads, headDim: d } = this.#spec
    const places = Array.from({ length: contrasts * range.count }, (_, i) => {
      return Math.floor(i / range.count) * heads + range.first + (i % range.count)
    })
    const side = ({ weight, q, k, qk }: CovarianceMoments['positive']) => ({
      weight,
      q: gather(q, places, d),
      k: gather(k, places, d),
      qk: gather(qk, places, d * d),
    })
    const { terms, skipped, positive, negative } = moments
    return { terms, skipped, positive: side(positive), negative: side(negative) }
  }

  #tensor(
    tensor: RowTensor,
    ranges: readonly HeadRange[],
    owned: boolean,
    name: string,
  ): AddonTensor | { rows: AddonHandle }[] {
    if (!tensor.resident) {
      return addonTensor(tensor, owned)
    }
    const { parts } = partsOf(tensor, ranges, name)
    return this.#parts.map(({ device }) => ({ rows: parts[device] as AddonHandle }))
  }

  #breaks(cause: Error): void {
    this.#broken = new QkError(
      'ERR_BACKEND',
      `the sums cannot be used any more: one device has a batch that another one has not (${cause.message})`,
      { hint: 'Accumulate again.', cause },
    )
  }

  #refuseIfBroken(): void {
    if (this.#broken) {
      throw this.#broken
    }
  }
}
