/** Reads inputs that prompts give as tensors: inline values, or rows of files. */

import path from 'node:path'
import type { Located } from '../contrast/positions.js'
import type { TensorSource } from '../contrast/prompt.js'
import { QkError } from '../errors.js'
import { f16ToNumber } from '../math/tensor.js'
import type { ModelInput } from '../model/inference/inputs.js'
import type { Model } from '../model/model.js'
import { checkIds } from '../model/tokenizer/vocabulary.js'
import { readNpy } from '../store/npy.js'

export interface TensorRun {
  kind: 'inputs'
  tensors: Record<string, { values: ArrayLike<number>; shape: readonly number[] }>
}

/** Errors: ERR_PROMPT, ERR_SHAPE, ERR_FILE, ERR_FORMAT; all name the prompt and the input. */
export function encodeInputs(
  model: Model,
  sources: Record<string, TensorSource>,
  where: string,
  folder: string,
): { run: TensorRun; located: Located } {
  const known = model.inputs.map((i) => i.name)
  for (const name of Object.keys(sources)) {
    if (!known.includes(name)) {
      throw new QkError('ERR_PROMPT', `${where}: the model has no input "${name}"`, {
        hint: `Its inputs are ${known.join(', ')}.`,
      })
    }
  }
  const missing = known.filter((name) => !(name in sources))
  if (missing.length > 0) {
    throw new QkError('ERR_PROMPT', `${where}: the input "${missing[0]}" is missing`)
  }
  const tensors = Object.fromEntries(
    Object.entries(sources).map(([name, source]) => {
      const input = model.inputs.find((i) => i.name === name)!
      const at = `${where}: input "${name}"`
      const tensor = readTensor(source, at, folder)
      checkShape(tensor.shape, input.shape.slice(1), at)
      checkValues(tensor.values, input, model, at)
      return [name, tensor] as const
    }),
  )
  return { run: { kind: 'inputs', tensors }, located: { length: undefined } }
}

/** Values and shape of an input of a prompt. Errors: as `encodeInputs`. */
export function readTensor(
  source: TensorSource,
  where: string,
  folder: string,
): { values: ArrayLike<number>; shape: readonly number[] } {
  if ('npy' in source) {
    const { data, shape, descr } = readNamedNpy(source, where, folder)
    if (descr === '<f2') {
      return { values: Array.from(data as Uint16Array, f16ToNumber), shape }
    }
    return { values: numbersOf(data), shape }
  }
  const { data, shape } = source
  const size = shape.reduce((a, b) => a * b, 1)
  if (data.length !== size) {
    throw new QkError('ERR_SHAPE', `${where} has ${data.length} values for the shape [${shape}]`)
  }
  return { values: numbersOf(data), shape }
}

function numbersOf(data: ArrayLike<number> | BigInt64Array): ArrayLike<number> {
  return data instanceof BigInt64Array ? Array.from(data, Number) : data
}

/**
 * Checks for whole numbers if the input has an integer type, and for token ids inside the table. Errors: ERR_PROMPT.
 */
export function checkValues(
  values: ArrayLike<number>,
  { name, role, type }: ModelInput,
  { vocabulary }: Model,
  where: string,
): void {
  if (type !== 'int64' && type !== 'int32') {
    return
  }
  for (let i = 0; i < values.length; i++) {
    if (!Number.isSafeInteger(values[i]) || (role === 'ids' && values[i] < 0)) {
      const expected = role === 'ids' ? 'a token id' : 'a whole number below 2^53'
      throw new QkError('ERR_PROMPT', `${where}: ${name}[${i}] is ${values[i]}, expected ${expected}`)
    }
  }
  if (role === 'ids') {
    checkIds(Array.from(values), vocabulary, undefined, where)
  }
}

function readNamedNpy(source: { npy: string; row?: number }, where: string, folder: string) {
  try {
    return readNpy(path.resolve(folder, source.npy), source.row)
  } catch (error) {
    if (!(error instanceof QkError)) {
      throw error
    }
    throw new QkError(error.code, `${where}: ${error.message}`, { hint: error.hint, cause: error })
  }
}

function checkShape(shape: readonly number[], expected: (number | string)[], where: string): void {
  const fits =
    shape.length === expected.length && expected.every((d, i) => typeof d !== 'number' || d === shape[i])
  if (!fits) {
    throw new QkError(
      'ERR_SHAPE',
      `${where} has the shape [${shape}], the model takes [${expected}] (without the batch)`,
    )
  }
}
