/** Files: the result's bytes, what is refused, and that nothing unfinished stays behind. */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { bundledFile, bundledWords } from '../dist/bundled/files.js'
import { boxesOrder } from '../dist/contrast/families/boxes.js'
import { accumulate, decompose, loadResult, openModel } from '../dist/index.js'
import { writeFileAtomically } from '../dist/store/atomic-file.js'
import { readNpy, writeNpy } from '../dist/store/npy.js'
import { readSafetensors, writeSafetensors } from '../dist/store/safetensors.js'
import { temporaryFolder } from './helpers/files.js'

const folder = temporaryFolder(test)

test('a safetensors file is, byte by byte, what the format says', async (t) => {
  const file = path.join(folder, 'plain.safetensors')
  /** @type {[string, import('../dist/store/safetensors.js').StoredTensor][]} */
  const tensors = [
    ['a.u', { data: Float64Array.of(1.5, -2), shape: [2, 1] }],
    ['b', { data: Float32Array.of(0.25, 3, 4), shape: [3] }],
  ]
  await writeSafetensors(file, tensors, { note: 'é' })
  const bytes = readFileSync(file)
  const json =
    '{"__metadata__":{"note":"é"},"a.u":{"dtype":"F64","shape":[2,1],"data_offsets":[0,16]},' +
    '"b":{"dtype":"F32","shape":[3],"data_offsets":[16,28]}}'
  const header = Buffer.from(json)
  const padded = Math.ceil(header.length / 8) * 8
  t.is(Number(bytes.readBigUInt64LE(0)), padded)
  t.deepEqual(bytes.subarray(8, 8 + header.length), header)
  t.is(bytes.subarray(8 + header.length, 8 + padded).toString(), ' '.repeat(padded - header.length))
  const data = bytes.subarray(8 + padded)
  t.is(data.length, 28)
  t.deepEqual(
    [0, 8].map((at) => data.readDoubleLE(at)),
    [1.5, -2],
  )
  t.deepEqual(
    [16, 20, 24].map((at) => data.readFloatLE(at)),
    [0.25, 3, 4],
  )
})

async function smallResult() {
  const model = await openModel(bundledFile('boxes.onnx'), {
    tokenizer: bundledFile('boxes.tokenizer.json'),
  })
  const sums = await accumulate(model, boxesOrder({ ...bundledWords(), prompts: 12, seed: 1 }), {
    heads: 'L0H0,L1H0',
  })
  return decompose(sums, { keepCovariances: true, rank: { rule: 'fixed', rank: 3 } })
}

test('a result comes back as it was saved', async (t) => {
  const result = await smallResult()
  const file = path.join(folder, 'result.safetensors')
  await result.save(file)
  const loaded = await loadResult(file)
  t.deepEqual(loaded.info, JSON.parse(JSON.stringify(result.info)))
  t.deepEqual(loaded.headNames, ['L0H0', 'L1H0'])
  t.deepEqual(loaded.head('1.0').contrast('order'), result.head('L1H0').contrast('order'))
  const { tensors } = await readSafetensors(file)
  const d = result.info.sites[0].headDim
  t.deepEqual(
    ['u', 's', 'v', 'c_pos', 'c_neg'].map((part) => tensors.get(`L1H0.order.${part}`).shape),
    [[d, 3], [3], [d, 3], [d, d], [d, d]],
  )
  const { info } = loaded
  t.regex(info.model.sha256, /^[0-9a-f]{64}$/)
  t.regex(info.prompts.sha256, /^[0-9a-f]{64}$/)
  t.is(info.estimator, 'per-query')
  t.like(info.prompts.definitions.order, { rule: 'terms', prompts: 12 })
  const { example } = /** @type {any} */ (info.prompts.definitions.order)
  t.regex(example.text, /Which box is/)
  t.true(info.sites.every((s) => s.relativeError < 1e-5))
  await result.save(file, { dtype: 'f32' })
  t.true((await readSafetensors(file)).tensors.get('L0H0.order.u').data instanceof Float32Array)
})

const python = ['/usr/bin/python3', 'python3'].find(
  (exe) => spawnSync(exe, ['-c', 'import numpy'], { stdio: 'ignore' }).status === 0,
)
const withPython = python ? test : (title, fn) => test.skip(`${title} (needs Python with numpy)`, fn)

withPython('Python reads a result as it is', async (t) => {
  const result = await smallResult()
  const file = path.join(folder, 'python.safetensors')
  await result.save(file)
  const script = `
import json, struct, sys, numpy
raw = open(sys.argv[1], 'rb').read()
n, = struct.unpack('<Q', raw[:8])
header = json.loads(raw[8:8 + n])
def tensor(name):
    entry = header[name]
    start, end = entry['data_offsets']
    return numpy.frombuffer(raw[8 + n + start:8 + n + end], dtype='<f8').reshape(entry['shape'])
u, s, v = (tensor('L1H0.order.' + part) for part in 'usv')
delta = tensor('L1H0.order.c_pos') - tensor('L1H0.order.c_neg')
best = numpy.linalg.svd(delta)[1]
print(json.dumps([abs(s - best[:3]).max() / best[0], abs(u.T @ delta @ v - numpy.diag(s)).max() / best[0]]))
`
  const errors = JSON.parse(execFileSync(python, ['-c', script, file], { encoding: 'utf8' }))
  for (const error of errors) {
    t.true(error < 1e-9)
  }
})

const spoil = {
  'an empty file': () => Buffer.alloc(0),
  'a header longer than the file': (bytes) => {
    bytes.writeBigUInt64LE(1n << 40n, 0)
    return bytes
  },
  'a file cut short': (bytes) => bytes.subarray(0, bytes.length - 9),
  'a header that is not JSON': (bytes) => {
    bytes[8] = 0x21
    return bytes
  },
}

for (const [what, change] of Object.entries(spoil)) {
  test(`loadResult refuses ${what}`, async (t) => {
    const file = path.join(folder, `${what.replaceAll(' ', '-')}.safetensors`)
    await writeSafetensors(file, [['x', { data: Float64Array.of(1, 2), shape: [2] }]], {})
    writeFileSync(file, change(readFileSync(file)))
    await t.throwsAsync(loadResult(file), { code: 'ERR_FORMAT' })
  })
}

test('loadResult refuses safetensors of other origin, and missing files', async (t) => {
  const file = path.join(folder, 'other.safetensors')
  await writeSafetensors(file, [['x', { data: Float64Array.of(1), shape: [1] }]], {})
  await t.throwsAsync(loadResult(file), { code: 'ERR_FORMAT', message: /not a result of qkspace/ })
  await t.throwsAsync(loadResult(path.join(folder, 'none.safetensors')), { code: 'ERR_FILE' })
})

test('unknown heads and contrasts of a result are refused', async (t) => {
  const result = await smallResult()
  t.throws(() => result.head('L7H7'), { code: 'ERR_UNKNOWN_HEAD' })
  t.throws(() => result.head('L0H0').contrast('nothing'), { code: 'ERR_UNKNOWN_CONTRAST' })
})

test('a failed write leaves nothing, and keeps what was there', async (t) => {
  const dir = path.join(folder, 'atomic')
  mkdirSync(dir)
  const file = path.join(dir, 'kept')
  writeFileSync(file, 'before')
  const chunks = function* () {
    yield Buffer.from('after')
    throw new Error('broken on the way')
  }
  await t.throwsAsync(writeFileAtomically(file, chunks()), { code: 'ERR_FILE', message: /broken on the way/ })
  t.deepEqual(readdirSync(dir), ['kept'])
  t.is(readFileSync(file, 'utf8'), 'before')
})

test('devices, folders and missing folders are not written to', async (t) => {
  for (const file of ['/dev/null', folder, path.join(folder, 'no/such/folder/x')]) {
    await t.throwsAsync(writeFileAtomically(file, [Buffer.from('x')]), { code: 'ERR_FILE' })
  }
})

/** Mounts a file system of 64 KiB; undefined where that is not allowed. */
function mountSmallDisk(name) {
  const place = path.join(folder, name)
  mkdirSync(place)
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', place], {
    stdio: 'ignore',
  })
  return status === 0 ? { place, unmount: () => spawnSync('umount', [place]) } : undefined
}

const tried = mountSmallDisk('may-mount')
tried?.unmount()
const withSmallDisk = tried ? test : (title, fn) => test.skip(`${title} (needs leave to mount a tmpfs)`, fn)

withSmallDisk('a full disk is said, and nothing stays on it', async (t) => {
  const disk = mountSmallDisk('full-disk')
  try {
    const file = path.join(disk.place, 'result.safetensors')
    await t.throwsAsync(writeFileAtomically(file, [Buffer.alloc(1 << 20)]), {
      code: 'ERR_FILE',
      message: /the disk is full/,
    })
    t.deepEqual(readdirSync(disk.place), [])
  } finally {
    disk.unmount()
  }
})

test('npy files go out and come in, whole or by row', async (t) => {
  const file = path.join(folder, 'x.npy')
  await writeNpy(file, Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2])
  t.is(readFileSync(file).readUInt16LE(8) % 64, 54)
  t.deepEqual(readNpy(file), { descr: '<f4', shape: [3, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6) })
  t.deepEqual(readNpy(file, 1), { descr: '<f4', shape: [2], data: Float32Array.of(3, 4) })
  t.throws(() => readNpy(file, 3), { code: 'ERR_RANGE', message: /has 3 rows, there is no row 3/ })
  writeFileSync(file, readFileSync(file).subarray(0, -4))
  t.throws(() => readNpy(file), { code: 'ERR_FORMAT', message: /cut short/ })
  writeFileSync(file, 'text')
  t.throws(() => readNpy(file), { code: 'ERR_FORMAT', message: /not a \.npy file/ })
})

test('npy files whose shape is none are refused by name', (t) => {
  const file = path.join(folder, 'shape.npy')
  const write = (shape) => {
    const header = Buffer.from(`{'descr': '<f4', 'fortran_order': False, 'shape': ${shape}, }\n`)
    const head = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length, 0])
    writeFileSync(file, Buffer.concat([head, header, Buffer.alloc(48)]))
  }
  for (const [shape, part] of [
    ['(-1, 4)', /shape\.npy: dimension 0 of its shape \(-1, 4\) is "-1"/],
    ['(2, 3, 0.5)', /dimension 2 .* is "0\.5"/],
    ['(2, x)', /is "x"/],
    ['(nan,)', /is "nan"/],
    ['(2,, 3)', /dimension 1 .* is ""/],
    ['(1e2,)', /is "1e2"/],
    ['(99999999999999999999,)', /dimension 0/],
    ['(4294967296, 4294967296)', /cut short/],
  ]) {
    write(shape)
    for (const row of [undefined, 0]) {
      t.throws(() => readNpy(file, row), { code: 'ERR_FORMAT', message: part })
    }
  }
  for (const [shape, dims] of [
    ['()', []],
    ['(12,)', [12]],
    ['(3L, 4L)', [3, 4]],
    ['(0, 4)', [0, 4]],
  ]) {
    write(shape)
    t.deepEqual(readNpy(file).shape, dims)
  }
})
