/** Device tensors: activations in the memory of a backend, uploaded once and read by any number of contrasts. */

import type { Backend, ResidentHandle, RowTensor } from '../backend/backend.js'
import { type BackendChoice, selectBackend } from '../backend/select.js'
import { QkError } from '../errors.js'
import { type Dtype, spannedElements } from '../math/tensor.js'
import { checkInteger, checkOptions, counted } from '../validate.js'
import { rowTensor, type TensorInput } from './row-tensor.js'

/** Options of `uploadTensor`. */
export interface UploadOptions {
  /** Backend to upload to; default 'auto': `cpu`, or `js` if that cannot be used. */
  backend?: BackendChoice
  /**
   * For queries, where a choice as `cuda:0,1` divides the heads among several GPUs: the number of key heads that will be
   * read beside them, so that the query heads of one key head stay together. Default: as many as the tensor has heads,
   * which is right for keys, and for queries if the number of GPUs divides that of the key heads.
   */
  keyHeads?: number
  /** Ends the copy with ERR_ABORTED. */
  signal?: AbortSignal
}

/** A tensor on a backend, accepted as `q` or `k` by `QKCovariance.add` on the same backend. */
export class DeviceTensor {
  /** Element type of the tensor. */
  readonly dtype: Dtype
  /** [batch, pos, heads, d] */
  readonly shape: readonly [number, number, number, number]
  #handle: ResidentHandle | undefined

  /** @internal Use `uploadTensor`. */
  constructor(
    /** The backend that holds the tensor. Only sums on the same backend can read it. */
    readonly backend: Backend,
    private readonly tensor: RowTensor,
    handle: ResidentHandle,
  ) {
    this.dtype = tensor.dtype
    this.shape = tensor.shape
    this.#handle = handle
  }

  /** Frees the memory once the batches that read it are done. The tensor cannot be used afterwards. */
  release(): void {
    if (this.#handle) {
      this.backend.release(this.#handle)
    }
    this.#handle = undefined
  }

  /** @internal The tensor in the form that the backend takes. Errors: ERR_ARGUMENT. */
  on(backend: Backend, name: string): RowTensor {
    if (!this.#handle) {
      throw new QkError('ERR_ARGUMENT', `${name} has been released`)
    }
    if (backend !== this.backend) {
      throw new QkError(
        'ERR_ARGUMENT',
        `${name} was uploaded to ${this.backend.choice}, the sums are on ${backend.choice}`,
        { hint: 'Upload to the same backend, and the same device of it.' },
      )
    }
    return { ...this.tensor, resident: this.#handle }
  }
}

const OPTIONS = { backend: true, keyHeads: true, signal: true } satisfies Record<keyof UploadOptions, true>

/**
 * Copies a tensor [batch, pos, heads, d] to a backend (default 'auto'). On 'cuda' it goes to the device's memory, in
 * its own type. Call `release` when it is no longer needed; otherwise the garbage collector frees it.
 *
 * Errors: ERR_TYPE, ERR_ARGUMENT, ERR_SHAPE, ERR_BACKEND, ERR_OUT_OF_MEMORY with the sizes, ERR_ABORTED.
 */
export async function uploadTensor(input: TensorInput, options: UploadOptions = {}): Promise<DeviceTensor> {
  checkOptions(options, OPTIONS, 'uploadTensor')
  const tensor = rowTensor(input, 'tensor')
  const need = spannedElements(tensor.shape, tensor.strides)
  if (tensor.data.length < need) {
    throw new QkError(
      'ERR_SHAPE',
      `tensor has ${tensor.data.length} elements, its shape and strides need ${need}`,
    )
  }
  const { keyHeads, signal } = options
  if (keyHeads !== undefined) {
    checkInteger(keyHeads, 'keyHeads', 1)
    if (tensor.shape[2] % keyHeads !== 0) {
      throw new QkError(
        'ERR_ARGUMENT',
        `keyHeads (${keyHeads}) does not divide the ${counted(tensor.shape[2], 'head')}`,
      )
    }
  }
  const backend = selectBackend(options.backend)
  const handle = await backend.upload(tensor, { keyHeads, signal })
  return new DeviceTensor(backend, { ...tensor, data: tensor.data.slice(0, 0) }, handle)
}
