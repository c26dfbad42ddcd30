import { readFileSync } from 'node:fs'
import { npyHeader, parseNpy, readNpy } from '../../../dist/store/npy.js'
import { isRefusal } from '../inputs.mjs'
import { changedBytes, changedText } from '../mutate.mjs'

const WORDS = [
  '(',
  ')',
  ',',
  "'",
  ':',
  'L',
  '-',
  'nan',
  'None',
  'True',
  'False',
  "'<f4'",
  "'|O'",
  "'>f8'",
  "'|b1'",
  '0x10',
]

/** NumPy arrays of every type, with their header or any bytes changed; whole and by row. */
export const target = {
  extension: 'npy',
  prepare: async () => {
    const types = { '<f4': 4, '<f8': 8, '<f2': 2, '<i4': 4, '<i8': 8, '|u1': 1, '|b1': 1 }
    return Object.entries(types).flatMap(([descr, bytes]) =>
      [[], [3], [2, 3], [2, 1, 2]].map((shape) => {
        const size = shape.reduce((a, b) => a * b, bytes)
        return {
          header: npyHeader(descr, shape).subarray(10).toString('latin1'),
          data: Buffer.alloc(size, 1),
        }
      }),
    )
  },
  make: (random, seeds) => {
    const { header, data } = random.pick(seeds)
    const inHeader = random.next() < 0.6
    const text = Buffer.from(inHeader ? changedText(random, header, WORDS) : header, 'latin1')
    const length = Buffer.alloc(2)
    length.writeUInt16LE(text.length)
    const whole = Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), length, text, data])
    return inHeader ? whole : changedBytes(random, whole)
  },
  run: async (file) => {
    for (const read of [
      () => readNpy(file, 1),
      () => parseNpy(readFileSync(file), file),
      () => readNpy(file),
    ]) {
      try {
        read()
      } catch (error) {
        if (!isRefusal(error)) {
          throw error
        }
      }
    }
    readNpy(file)
  },
}
