/** Checks the input that a prompt gives to the model. */

import type { PromptSource, TensorSource, TokenIds } from './prompt.js'

/** Throws an error that names the prompt. */
export type Fail = (message: string, hint?: string) => never

export const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Checks that a prompt has exactly one source, and that its token ids are valid; `fail` throws. */
export function checkSource(source: PromptSource, fail: Fail): void {
  const given = (['text', 'tokens', 'inputs'] as const).filter((key) => source[key] !== undefined)
  if (given.length !== 1) {
    fail(`give one of "text", "tokens" and "inputs", not ${given.length || 'none'}`)
  }
  const { text, pair, tokens, inputs } = source
  if (text !== undefined && typeof text !== 'string') {
    fail('"text" is a string')
  }
  if (pair !== undefined && (typeof pair !== 'string' || text === undefined)) {
    fail('"pair" is a string, the second text beside "text"')
  }
  if (tokens !== undefined) {
    checkTokens(tokens, fail)
  }
  if (inputs !== undefined) {
    if (!isObject(inputs)) {
      fail('"inputs" is an object from names to tensors')
    }
    for (const [name, tensor] of Object.entries(inputs)) {
      checkTensor(name, tensor, fail)
    }
  }
}

function checkTokens(tokens: TokenIds, fail: Fail): void {
  const isList = Array.isArray(tokens) || tokens instanceof Int32Array || tokens instanceof BigInt64Array
  if (!isList || tokens.length === 0) {
    fail('"tokens" is a list of token ids, not empty')
  }
  const wrong = tokenIds(tokens).findIndex((id) => !Number.isSafeInteger(id) || id < 0)
  if (wrong >= 0) {
    fail(`tokens[${wrong}] is ${String(tokens[wrong])}, which is not a token id`)
  }
}

/** Token ids as numbers. Values that are neither numbers nor BigInts stay unchanged, for the checks. */
export function tokenIds(tokens: TokenIds): readonly number[] {
  return Array.isArray(tokens) ? tokens : Array.from(tokens as ArrayLike<number | bigint>, Number)
}

function checkTensor(name: string, tensor: TensorSource, fail: Fail): void {
  const form = `input "${name}"`
  if (!isObject(tensor)) {
    fail(`${form} is {"npy": file, "row": n}, or {"data": values, "shape": sizes}`)
  }
  if ('npy' in tensor) {
    if (typeof tensor.npy !== 'string') {
      fail(`${form}: "npy" is the name of a file`)
    }
    return
  }
  const { data, shape } = tensor
  if (!Array.isArray(shape) || !shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    fail(`${form}: "shape" is a list of whole numbers`)
  }
  if (!ArrayBuffer.isView(data) && !(Array.isArray(data) && data.every((x) => typeof x === 'number'))) {
    fail(`${form}: "data" is a list of numbers`)
  }
}
