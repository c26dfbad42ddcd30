/** Inputs by target, seed and number: the same three give the same bytes. */

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { seededRandom } from '../../dist/math/random.js'

/**
 * What is tried, by name. Each module in `targets/` exports `target`:
 *
 * - `extension`: of the file that an input is written to
 * - `prepare(folder)`: what inputs are made of, once a process
 * - `make(random, prepared)`: the bytes of an input
 * - `run(file, prepared)`: reads the file; it may throw a QkError, and nothing else
 */
export const TARGETS = [
  'npy',
  'npz',
  'safetensors',
  'jsonl',
  'chat-template',
  'documents',
  'tokenizer',
  'onnx-read',
  'onnx',
  'arrays',
  'cli',
]

/** One of these, or the module that the path names. */
export async function loadTarget(name) {
  const { target } = await import(path.isAbsolute(name) ? pathToFileURL(name).href : `./targets/${name}.mjs`)
  return target
}

/** The bytes of one input. */
export function inputOf(target, prepared, seed, index) {
  const state = Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)
  return target.make(seededRandom(state), prepared)
}

/** What trying the input threw, if anything. */
export async function tryInput(target, bytes, folder, prepared) {
  const file = path.join(folder, `input.${target.extension}`)
  writeFileSync(file, bytes)
  try {
    await target.run(file, prepared)
    return undefined
  } catch (error) {
    return error ?? new Error('undefined was thrown')
  }
}

/** Whether an error is one that is raised on purpose, for what the caller gave. */
export function isRefusal(error) {
  return error?.name === 'QkError' && typeof error.code === 'string' && error.code !== 'ERR_INTERNAL'
}
