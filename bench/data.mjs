/** Inputs shared by all subjects of a case: raw little-endian files in its folder, made from a seed. */

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { seededRandom } from '../dist/math/random.js'

/** Cheap, roughly normal numbers: the sum of four uniform ones, of unit variance. */
export function noise(n, seed) {
  const random = seededRandom(seed)
  const out = new Float32Array(n)
  const scale = Math.sqrt(3)
  for (let i = 0; i < n; i++) {
    out[i] = scale * (random.next() + random.next() + random.next() + random.next() - 2)
  }
  return out
}

export function permutation(n, seed) {
  const random = seededRandom(seed)
  const out = Int32Array.from({ length: n }, (_, i) => i)
  for (let i = n - 1; i > 0; i--) {
    const j = random.below(i + 1)
    const kept = out[i]
    out[i] = out[j]
    out[j] = kept
  }
  return out
}

export function save(folder, name, array) {
  writeFileSync(
    path.join(folder, `${name}.bin`),
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength),
  )
}

export function read(folder, name, Type) {
  const bytes = readFileSync(path.join(folder, `${name}.bin`))
  return new Type(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
}

/** The same in shared memory, which the native backend reads in place. */
export function readShared(folder, name, Type) {
  const bytes = readFileSync(path.join(folder, `${name}.bin`))
  const shared = new SharedArrayBuffer(bytes.length)
  new Uint8Array(shared).set(bytes)
  return new Type(shared)
}

/** ||a - b||_F / ||b||_F; a NaN is an infinite error. */
export function relativeError(a, b) {
  let difference = 0
  let total = 0
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2
    total += b[i] ** 2
  }
  const error = Math.sqrt(difference / total)
  return a.length === b.length && Number.isFinite(error) ? error : Number.POSITIVE_INFINITY
}
