import test from 'ava'
import {
  bf16ToNumber,
  contiguousStrides,
  decode,
  elementCount,
  encode,
  f16ToNumber,
  numberToBf16,
  numberToF16,
  spannedElements,
} from '../../dist/math/tensor.js'

test('every f16 and bf16 value survives the way through a number', (t) => {
  for (const [to, from] of [
    [f16ToNumber, numberToF16],
    [bf16ToNumber, numberToBf16],
  ]) {
    for (let bits = 0; bits < 65536; bits++) {
      const value = to(bits)
      if (Number.isNaN(value)) {
        t.true(Number.isNaN(to(from(value))))
      } else if (from(value) !== bits) {
        t.fail(`${bits}: ${value} became ${from(value)}`)
      }
    }
  }
  t.pass()
})

test('rounding to 16 bits is to nearest, ties to even', (t) => {
  t.is(f16ToNumber(0x3c00), 1)
  t.is(f16ToNumber(0x0001), 2 ** -24)
  t.is(numberToF16(65519), 0x7bff)
  t.is(numberToF16(65520), 0x7c00)
  t.is(numberToF16(1 + 2 ** -11), 0x3c00)
  t.is(numberToF16(1 + 3 * 2 ** -11), 0x3c02)
  t.is(numberToF16(2 ** -25), 0)
  t.is(numberToF16(2 - 2 ** -12), 0x4000)
  t.is(numberToF16(2 ** -14 - 2 ** -26), 0x0400)
  t.is(numberToBf16(1 + 2 ** -8), 0x3f80)
  t.is(numberToBf16(1 + 3 * 2 ** -8), 0x3f82)
  t.deepEqual(decode(encode([1, -2.5, 0], 'f16'), 'f16'), Float32Array.of(1, -2.5, 0))
})

test('shapes and strides', (t) => {
  t.deepEqual(contiguousStrides([2, 3, 4]), [12, 4, 1])
  t.is(spannedElements([2, 3, 4], [12, 4, 1]), 24)
  t.is(spannedElements([2, 0, 4], [12, 4, 1]), 0)
  t.throws(() => elementCount([2 ** 30, 2 ** 30]), { code: 'ERR_SHAPE' })
  t.throws(() => elementCount([2, -1]), { code: 'ERR_SHAPE', message: /shape\[1\] is -1/ })
})
