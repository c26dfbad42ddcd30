/** Queries and keys that other tools saved: read as they are, or refused by file and entry. */

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { crc32, deflateRawSync } from 'node:zlib'
import test from 'ava'
import { QKCovariance, readActivations, svd, testRank } from '../../dist/index.js'
import { seededRandom } from '../../dist/math/random.js'
import { encode } from '../../dist/math/tensor.js'
import { npyHeader } from '../../dist/store/npy.js'
import { temporaryFolder } from '../helpers/files.js'
import { pythonJson, withPython } from '../helpers/python.js'

const folder = temporaryFolder(test)
let files = 0
const place = (ending) => path.join(folder, `file-${files++}.${ending}`)

const [Q, K] = ['blocks.1.attn.hook_rot_q', 'blocks.1.attn.hook_rot_k']
const [BATCH, POS, HEADS, KEY_HEADS, D] = [3, 5, 4, 2, 8]
const normal = (length, seed) => {
  const random = seededRandom(seed)
  return Float32Array.from({ length }, () => random.normal())
}
const q = normal(BATCH * POS * HEADS * D, 1)
const k = normal(BATCH * POS * KEY_HEADS * D, 2)
const shapes = { q: [BATCH, POS, HEADS, D], k: [BATCH, POS, KEY_HEADS, D] }

const bytesOf = (data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)

/** A safetensors file of [name, dtype, shape, data]. */
function writeTensors(tensors) {
  const header = {}
  let offset = 0
  for (const [name, dtype, shape, data] of tensors) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] }
    offset += data.byteLength
  }
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  const file = place('safetensors')
  writeFileSync(file, Buffer.concat([length, json, ...tensors.map(([, , , data]) => bytesOf(data))]))
  return file
}

const npy = (descr, shape, data) => Buffer.concat([npyHeader(descr, shape), bytesOf(data)])

/** A zip of [name, bytes], each deflated or stored; `change` may spoil the fields of an entry. */
function writeZip(entries, { deflate = false, change = {} } = {}) {
  const locals = []
  const central = []
  let offset = 0
  for (const [name, bytes] of entries) {
    const stored = deflate ? deflateRawSync(bytes) : bytes
    const fields = {
      method: deflate ? 8 : 0,
      flags: 0,
      crc: crc32(bytes),
      compressed: stored.length,
      uncompressed: bytes.length,
      ...change,
    }
    const common = Buffer.alloc(26)
    common.writeUInt16LE(20, 0)
    common.writeUInt16LE(fields.flags, 2)
    common.writeUInt16LE(fields.method, 4)
    common.writeUInt32LE(fields.crc, 10)
    common.writeUInt32LE(fields.compressed, 14)
    common.writeUInt32LE(fields.uncompressed, 18)
    common.writeUInt16LE(name.length, 22)
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, Buffer.from(name), stored])
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(offset, 10)
    central.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\0'), common, tail, Buffer.from(name)]))
    locals.push(local)
    offset += local.length
  }
  const directory = Buffer.concat(central)
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 0, 'latin1')
  end.writeUInt16LE(entries.length, 8)
  end.writeUInt16LE(entries.length, 10)
  end.writeUInt32LE(directory.length, 12)
  end.writeUInt32LE(offset, 16)
  const file = place('npz')
  writeFileSync(file, Buffer.concat([...locals, directory, end]))
  return file
}

const arrays = [
  [`${Q}.npy`, npy('<f4', shapes.q, q)],
  [`${K}.npy`, npy('<f4', shapes.k, k)],
]

test('f32, f16 and bf16 of safetensors come as they are stored', async (t) => {
  for (const dtype of /** @type {const} */ (['f32', 'f16', 'bf16'])) {
    const [a, b] = [q, k].map((data) => encode(data, dtype))
    const name = dtype.toUpperCase()
    const file = writeTensors([
      ['blocks.0.hook_resid_pre', 'I64', [1], BigInt64Array.of(1n)],
      [Q, name, shapes.q, a],
      [K, name, shapes.k, b],
    ])
    const [layer, ...others] = await readActivations(file)
    t.is(others.length, 0)
    t.like(layer, { layer: 1, rotary: true, hooks: { q: Q, k: K } })
    t.deepEqual(layer.q, { data: a, dtype, shape: shapes.q })
    t.deepEqual(layer.k, { data: b, dtype, shape: shapes.k })
  }
})

test('npz, stored and deflated, f32 and f16', async (t) => {
  for (const deflate of [false, true]) {
    const [layer] = await readActivations(writeZip(arrays, { deflate }))
    t.deepEqual(layer.q, { data: q, dtype: 'f32', shape: shapes.q })
    t.deepEqual(layer.k, { data: k, dtype: 'f32', shape: shapes.k })
  }
  const halves = [
    [`${Q}.npy`, npy('<f2', shapes.q, encode(q, 'f16'))],
    [`${K}.npy`, npy('<f2', shapes.k, encode(k, 'f16'))],
  ]
  const [layer] = await readActivations(writeZip(halves))
  t.deepEqual(layer.q, { data: encode(q, 'f16'), dtype: 'f16', shape: shapes.q })
})

test('layers come in order, rotated hooks before plain ones, and only those asked for are read', async (t) => {
  const names = [10, 2].flatMap((layer) => ['hook_q', 'hook_k'].map((hook) => `blocks.${layer}.attn.${hook}`))
  const tensors = [...names, 'blocks.2.attn.hook_rot_q', 'blocks.2.attn.hook_rot_k'].map((name) => {
    return [name, 'F32', name.endsWith('q') ? shapes.q : shapes.k, name.endsWith('q') ? q : k]
  })
  const file = writeTensors(tensors)
  const found = await readActivations(file)
  t.deepEqual(
    found.map(({ layer, rotary, hooks }) => [layer, rotary, hooks.q]),
    [
      [2, true, 'blocks.2.attn.hook_rot_q'],
      [10, false, 'blocks.10.attn.hook_q'],
    ],
  )
  const asked = await readActivations(file, { layers: [10], memoryLimit: q.byteLength + k.byteLength })
  t.deepEqual(
    asked.map(({ layer }) => layer),
    [10],
  )
  await t.throwsAsync(readActivations(file, { layers: [3] }), { code: 'ERR_FORMAT', message: /layer 3/ })
  await t.throwsAsync(readActivations(file, { memoryLimit: 100 }), { code: 'ERR_MEMORY_LIMIT' })
  // @ts-expect-error a misspelt option
  await t.throwsAsync(readActivations(file, { layer: 2 }), { code: 'ERR_ARGUMENT', message: /"layer"/ })
  await t.throwsAsync(readActivations(file, { layers: [-1] }), {
    code: 'ERR_ARGUMENT',
    message: /a layer is -1/,
  })
  // @ts-expect-error a number in the place of a list
  await t.throwsAsync(readActivations(file, { layers: 2 }), { code: 'ERR_TYPE', message: /array of numbers/ })
  await t.throwsAsync(readActivations(file, { memoryLimit: Number.NaN }), { code: 'ERR_ARGUMENT' })
  t.is((await readActivations(file, { memoryLimit: 2 ** 40 })).length, 2)
})

test('they go into covariances, the decomposition and the test as they are', async (t) => {
  const [layer] = await readActivations(writeZip(arrays))
  const rows = Array.from({ length: BATCH }, (_, b) => b * POS)
  const terms = {
    contrast: 'c',
    query: Int32Array.from(rows, (row) => row + 4),
    posOffsets: Int32Array.of(0, 1, 2, 3),
    pos: Int32Array.from(rows, (row) => row + 1),
    negOffsets: Int32Array.of(0, 1, 2, 3),
    neg: Int32Array.from(rows, (row) => row + 2),
  }
  const covariance = new QKCovariance({
    heads: HEADS,
    kvHeads: KEY_HEADS,
    headDim: D,
    contrasts: ['c'],
    backend: 'js',
  })
  await covariance.add({ q: layer.q, k: layer.k, terms })
  const { cPos } = await covariance.read()
  // Head 3, by its definition: it reads key head 1.
  const expected = new Float64Array(D * D)
  for (const row of rows) {
    for (let i = 0; i < D; i++) {
      for (let j = 0; j < D; j++) {
        const of = q[((row + 4) * HEADS + 3) * D + i] * k[((row + 1) * KEY_HEADS + 1) * D + j]
        expected[i * D + j] += of / BATCH
      }
    }
  }
  expected.forEach((value, i) => {
    t.true(Math.abs(cPos[3 * D * D + i] - value) < 1e-6)
  })
  const { s } = await svd(cPos, { n: HEADS, rows: D, cols: D, backend: 'js' })
  t.true(s.every((value) => value >= 0))
  const many = Array.from({ length: 20 }, (_, u) => u % BATCH)
  const tested = await testRank({
    q: layer.q,
    k: layer.k,
    backend: 'js',
    draws: 19,
    mostDraws: 19,
    units: Int32Array.from(many.keys()),
    terms: {
      contrast: 'c',
      query: many.map((b) => b * POS + 4),
      posOffsets: Array.from({ length: 21 }, (_, i) => i),
      pos: many.map((b) => b * POS + 1),
      negOffsets: Array.from({ length: 21 }, (_, i) => i),
      neg: many.map((b) => b * POS + 2),
    },
  })
  t.is(tested.heads, HEADS)
})

withPython(test, 'numpy')('what numpy saves is read: savez, savez_compressed', async (t) => {
  const script = `
import json, sys, numpy
q = numpy.arange(2 * 3 * 4 * 5, dtype='float32').reshape(2, 3, 4, 5) / 7
k = (q[:, :, :2] * 2).astype('float32')
arrays = {'blocks.0.attn.hook_q': q, 'blocks.0.attn.hook_k': k}
numpy.savez(sys.argv[1], **arrays)
numpy.savez_compressed(sys.argv[2], **{name: x.astype('float16') for name, x in arrays.items()})
print(json.dumps([q.ravel().tolist(), q.astype('float16').view('uint16').ravel().tolist()]))
`
  const [plain, compressed] = [place('npz'), place('npz')]
  const [single, half] = pythonJson('-c', script, plain, compressed)
  t.deepEqual((await readActivations(plain))[0].q, {
    data: Float32Array.from(single),
    dtype: 'f32',
    shape: [2, 3, 4, 5],
  })
  t.deepEqual((await readActivations(compressed))[0].q.data, Uint16Array.from(half))
})

withPython(test, 'numpy')(
  'pickles, Fortran order and float64 of numpy are refused with what to do',
  async (t) => {
    const script = `
import sys, numpy
k = numpy.zeros((1, 2, 2, 4), 'float32')
kinds = [numpy.array([{'a': 1}], dtype=object), numpy.asfortranarray(k + 1), k.astype('float64'), k.astype('>f4')]
for file, q in zip(sys.argv[1:], kinds):
    numpy.savez(file, **{'blocks.0.attn.hook_q': q, 'blocks.0.attn.hook_k': k})
print('null')
`
    const refused = [
      [/hook_q of .*\.npz holds Python objects/, /pickles/],
      [/hook_q of .*\.npz is stored in Fortran order/, /ascontiguousarray/],
      [/hook_q of .*\.npz has the type <f8/, /astype\('float32'\)/],
      [/hook_q of .*\.npz has the type >f4/, /<f4/],
    ]
    const names = refused.map(() => place('npz'))
    pythonJson('-c', script, ...names)
    for (const [i, [message, hint]] of refused.entries()) {
      /** @type {import('../../dist/index.js').QkError} */
      const error = await t.throwsAsync(readActivations(names[i]), { code: 'ERR_FORMAT', message })
      t.regex(error.hint, hint)
    }
  },
)

/** @type {Record<string, [object, RegExp]>} */
const broken = {
  'a wrong checksum': [{ change: { crc: 7 } }, /hook_rot_q of .* is damaged: its checksum/],
  'a wrong checksum of deflated data': [{ deflate: true, change: { crc: 7 } }, /hook_rot_q of .* checksum/],
  'a bomb: few bytes that claim to be many': [
    { deflate: true, change: { uncompressed: 0xfffffff0 } },
    /hook_rot_q of .* claims that \d+ bytes inflate to 4294967280/,
  ],
  'more data than declared': [
    { deflate: true, change: { uncompressed: 100 } },
    /hook_rot_q of .* cannot be read/,
  ],
  'more data than the file has': [
    { change: { compressed: 2 ** 30, uncompressed: 2 ** 30 } },
    /claims 1073741824 bytes/,
  ],
  'sizes that differ without compression': [{ change: { uncompressed: 3 } }, /not a whole \.npz archive/],
  'another compression': [{ change: { method: 12 } }, /hook_rot_q of .* method other than deflate/],
  encryption: [{ deflate: true, change: { flags: 1 } }, /hook_rot_q of .* encrypted/],
}

for (const [what, [options, message]] of Object.entries(broken)) {
  test(`${what} is refused`, async (t) => {
    await t.throwsAsync(readActivations(writeZip(arrays, options)), { code: 'ERR_FORMAT', message })
  })
}

test('a real bomb is refused by its declared size, before it is inflated', async (t) => {
  const zeros = Buffer.concat([npyHeader('<f4', [1, 2 ** 18, 4, 4]), Buffer.alloc(2 ** 24)])
  const file = writeZip(
    [
      [`${Q}.npy`, zeros],
      [`${K}.npy`, zeros],
    ],
    { deflate: true },
  )
  t.true(readFileSync(file).length < 2 ** 17)
  await t.throwsAsync(readActivations(file, { memoryLimit: 2 ** 24 }), {
    code: 'ERR_MEMORY_LIMIT',
    message: /take 32\.0 MiB, the limit is 16\.0 MiB/,
  })
  t.is((await readActivations(file, { memoryLimit: 2 ** 26 }))[0].q.data.length, 2 ** 22)
})

const whole = readFileSync(writeZip(arrays))
const cut = {
  'an archive cut short': whole.subarray(0, 400),
  'an empty file': Buffer.alloc(0),
  'a text': Buffer.from('not an archive'),
}

for (const [what, bytes] of Object.entries(cut)) {
  test(`${what} is refused`, async (t) => {
    const file = place('npz')
    writeFileSync(file, bytes)
    await t.throwsAsync(readActivations(file), { code: 'ERR_FORMAT', message: /not a whole \.npz archive/ })
  })
}

test('an archive damaged at any byte is read as it was or refused, and nothing else', async (t) => {
  const small = [
    [`${Q}.npy`, npy('<f4', [1, 1, 1, 2], Float32Array.of(1, 2))],
    [`${K}.npy`, npy('<f4', [1, 1, 1, 2], Float32Array.of(3, 4))],
  ]
  const original = readFileSync(writeZip(small, { deflate: true }))
  const file = place('npz')
  for (let at = 0; at < original.length; at++) {
    const bytes = Buffer.from(original)
    bytes[at] ^= 0x55
    writeFileSync(file, bytes)
    const read = await readActivations(file, { memoryLimit: 2 ** 20 }).catch((error) => error)
    if (Array.isArray(read)) {
      t.deepEqual([...read[0].q.data, ...read[0].k.data], [1, 2, 3, 4])
    } else {
      t.true(['ERR_FORMAT', 'ERR_MEMORY_LIMIT', 'ERR_SHAPE'].includes(read.code), `${at}: ${read.stack}`)
    }
  }
})

test('an array twice, one without its other half, and files without any are refused', async (t) => {
  await t.throwsAsync(readActivations(writeZip([...arrays, arrays[0]])), {
    code: 'ERR_FORMAT',
    message: /twice/,
  })
  await t.throwsAsync(readActivations(writeZip([arrays[0]])), {
    code: 'ERR_FORMAT',
    message: /has blocks\.1\.attn\.hook_rot_q and no blocks\.1\.attn\.hook_rot_k/,
  })
  const mixed = [arrays[0], ['blocks.1.attn.hook_k.npy', arrays[1][1]]]
  await t.throwsAsync(readActivations(writeZip(mixed)), {
    code: 'ERR_FORMAT',
    message: /no blocks.*hook_rot_k/,
  })
  /** @type {import('../../dist/index.js').QkError} */
  const none = await t.throwsAsync(readActivations(writeZip([['queries.npy', arrays[0][1]]])), {
    code: 'ERR_FORMAT',
    message: /no queries and keys by TransformerLens names/,
  })
  t.regex(none.hint, /It holds queries\./)
  await t.throwsAsync(readActivations(path.join(folder, 'none.npz')), { code: 'ERR_FILE' })
  await t.throwsAsync(readActivations(path.join(folder, 'none.safetensors')), { code: 'ERR_FILE' })
  await t.throwsAsync(readActivations('activations.pt'), { code: 'ERR_ARGUMENT', message: /\.pt/ })
})

test('shapes that do not fit are refused by name', async (t) => {
  const file = (a, b) => {
    const data = (shape) => new Float32Array(shape.reduce((x, y) => x * y, 1))
    return writeTensors([
      [Q, 'F32', a, data(a)],
      [K, 'F32', b, data(b)],
    ])
  }
  /** @returns {Promise<import('../../dist/index.js').QkError>} */
  const fails = (a, b, message) => t.throwsAsync(readActivations(file(a, b)), { code: 'ERR_SHAPE', message })
  const batch = await fails([5, 4, 8], [5, 2, 8], /hook_rot_q of .* has the shape \[5, 4, 8\]/)
  t.regex(batch.hint, /batch axis/)
  await fails([1, 5, 4, 8], [2, 5, 2, 8], /1 and 2 sequences/)
  await fails([1, 5, 4, 8], [1, 5, 2, 4], /head dimensions 8 and 4/)
  await fails([1, 5, 4, 8], [1, 5, 3, 8], /4 query heads, which 3 key heads do not divide/)
  await fails([1, 0, 4, 8], [1, 0, 4, 8], /\[1, 0, 4, 8\]/)
})

test('safetensors of another type, or whose bytes do not fit, are refused', async (t) => {
  await t.throwsAsync(
    readActivations(
      writeTensors([
        [Q, 'F64', [1, 1, 1, 1], Float64Array.of(1)],
        [K, 'F32', [1, 1, 1, 1], Float32Array.of(1)],
      ]),
    ),
    {
      code: 'ERR_FORMAT',
      message: /hook_rot_q of .* has the type F64/,
    },
  )
  await t.throwsAsync(
    readActivations(
      writeTensors([
        [Q, 'BF16', shapes.q, Uint16Array.of(1)],
        [K, 'BF16', shapes.k, Uint16Array.of(1)],
      ]),
    ),
    {
      code: 'ERR_FORMAT',
      message: /tensor blocks.1.attn.hook_rot_q lies at bytes/,
    },
  )
})
