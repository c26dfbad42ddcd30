/** Random queries and keys. */

import { encode } from '../../dist/math/tensor.js'
import { noise, permutation } from '../data.mjs'

const MOST_DISTINCT = 1024

/**
 * [rows, heads, d] on the host as a view of at most 1024 rows that repeat: the device's copy is dense, and as large
 * as it says, at a small part of the time and memory that it would take to make here.
 */
export function repeatedRows(rows, heads, d, dtype, seed) {
  let pos = Math.min(rows, MOST_DISTINCT)
  while (rows % pos !== 0) {
    pos--
  }
  const data = shared(encode(noise(pos * heads * d, seed), dtype))
  return { data, dtype, shape: [rows / pos, pos, heads, d], strides: [0, heads * d, d, 1] }
}

/** [rows, heads, d], each in its own memory. */
export function denseRows(rows, heads, d, dtype, seed) {
  const few = repeatedRows(Math.min(rows, MOST_DISTINCT), heads, d, dtype, seed).data
  const Type = few.constructor
  const data = new Type(new SharedArrayBuffer(rows * heads * d * Type.BYTES_PER_ELEMENT))
  for (let at = 0; at < data.length; at += few.length) {
    data.set(few.subarray(0, Math.min(few.length, data.length - at)), at)
  }
  return { data, dtype, shape: [1, rows, heads, d] }
}

/** A copy in shared memory, which is read in place. */
function shared(array) {
  const out = new array.constructor(new SharedArrayBuffer(array.byteLength))
  out.set(array)
  return out
}

/** 0 to n - 1 in random order, plus `first`. */
export const shuffled = (n, seed, first = 0) => permutation(n, seed).map((i) => first + i)

export const bytesOf = (dtype) => (dtype === 'f32' ? 4 : 2)
