/** Devices, their memory and its limits: the CUDA backend as it is written, run on the processor (two "devices"). */

import { setTimeout } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import { selectBackend } from '../../dist/backend/select.js'
import { QKCovariance, svd, testRank, uploadTensor } from '../../dist/index.js'
import { sequence, tensor, terms } from '../helpers/arithmetic-batches.js'
import { cudaOnHost, noCompiler } from '../helpers/cuda-on-host.js'
import { plantedTerms } from '../helpers/rank-data.js'

const reason = noCompiler()
const onHost = reason ? (title) => test.skip(`${title}: ${reason}`, () => {}) : test.serial

const LIMIT = 3 * 2 ** 20
const SPEC = { heads: 4, kvHeads: 2, headDim: 16, contrasts: ['a', 'b'] }

if (!reason) {
  process.env.QKSPACE_CUDA_LIBRARY = cudaOnHost()
  process.env.QKSPACE_CUDA_MEMORY = `${LIMIT}`
}

async function momentsOn(backend, batch) {
  const cov = new QKCovariance({ ...SPEC, backend })
  await cov.add(batch)
  const moments = await cov.moments()
  cov.dispose()
  return moments
}

onHost('a batch larger than the memory is streamed, and gives what the processor gives', async (t) => {
  const q = tensor([1, 20_000, 4, 16], { seed: 1 })
  const k = tensor([1, 20_000, 2, 16], { seed: 2 })
  t.true(q.data.byteLength + k.data.byteLength > 2 * LIMIT)
  const list = terms(6000, 20_000, 20_000, { contrasts: 2, most: 3, weights: true, counterfactual: true })
  const labels = [0, 1, 2, 3].map((i) => sequence(400, { first: 2000 * i, contrast: i % 2, seed: i }))
  const cuda = selectBackend('cuda')
  t.is(cuda.describe().device.memoryLimit, LIMIT)
  const batch = { q, k, terms: list, labels }
  const [here, there] = [await momentsOn('cpu', batch), await momentsOn('cuda', batch)]
  t.deepEqual(there.terms, here.terms)
  for (const side of ['positive', 'negative']) {
    for (const what of ['q', 'k', 'qk']) {
      const most = Math.max(...here[side][what].map(Math.abs))
      there[side][what].forEach((x, i) => {
        if (!(Math.abs(x - here[side][what][i]) <= 1e-5 * most)) {
          t.fail(`${side} ${what} ${i}`)
        }
      })
    }
  }
})

onHost('what does not fit is an error with the sizes, and the next batch goes through', async (t) => {
  const wide = tensor([1, 30_000, 2, 16], { seed: 3 })
  const q = tensor([1, 4, 4, 16], { seed: 4 })
  const all = Int32Array.from({ length: 30_000 }, (_, i) => i)
  const one = { query: [0], pos: all, posOffsets: [0, 30_000], neg: [1], negOffsets: [0, 1], contrast: 'a' }
  const cov = new QKCovariance({ ...SPEC, backend: 'cuda' })
  const refused = {
    code: 'ERR_OUT_OF_MEMORY',
    message: /needs \d+ MiB of GPU memory; \d+ MiB of 3 MiB are in use/,
  }
  await t.throwsAsync(cov.add({ q, k: wide, terms: one }), refused)
  t.deepEqual([...(await cov.moments()).terms], [0, 0])
  await t.throwsAsync(uploadTensor(wide, { backend: 'cuda' }), refused)
  await cov.add({ q, k: wide, terms: { ...terms(50, 4, 30_000), contrast: 'b' } })
  t.deepEqual([...(await cov.moments()).terms], [0, 50])
  // Beyond the limit at once; within it, but not beside what is in use, with the first batch.
  t.throws(() => new QKCovariance({ ...SPEC, heads: 256, kvHeads: 2, headDim: 64, backend: 'cuda' }), {
    code: 'ERR_OUT_OF_MEMORY',
    message: /^the covariance set needs \d+ MiB of GPU memory; the limit is 3 MiB$/,
  })
  const resident = await uploadTensor(tensor([1, 10_000, 2, 16]), { backend: 'cuda' })
  const large = new QKCovariance({ ...SPEC, heads: 256, kvHeads: 2, backend: 'cuda' })
  await t.throwsAsync(large.moments(), refused)
  resident.release()
  t.deepEqual([...(await large.moments()).terms], [0, 0])
  large.dispose()
})

// The emulator ends the process where JavaScript's thread waits for the device.
onHost('what is made and what goes while a batch runs does not hold up JavaScript', async (t) => {
  const batch = {
    q: tensor([1, 80, 4, 16], { seed: 11 }),
    k: tensor([1, 80, 2, 16], { seed: 12 }),
    terms: terms(3000, 80, 80, { contrasts: 2, most: 3 }),
  }
  const expected = await momentsOn('cuda', batch)
  const [running, other] = [0, 1].map(() => new QKCovariance({ ...SPEC, backend: 'cuda' }))
  await other.add({ ...batch, terms: terms(10, 80, 80) })
  const resident = await uploadTensor(batch.k, { backend: 'cuda' })
  const adding = running.add(batch)
  let isRunning = true
  adding.then(() => {
    isRunning = false
  })
  // Long enough for the device to have begun.
  await setTimeout(20)
  other.dispose()
  resident.release()
  const next = new QKCovariance({ ...SPEC, backend: 'cuda' })
  t.true(isRunning)
  await Promise.all([adding, next.add(batch)])
  t.deepEqual(await running.moments(), expected)
  t.deepEqual(await next.moments(), expected)
  running.dispose()
  next.dispose()
})

onHost('what is kept from call to call goes where something else needs the memory', async (t) => {
  const streamed = {
    q: tensor([1, 20_000, 4, 16], { seed: 5 }),
    k: tensor([1, 20_000, 2, 16], { seed: 6 }),
    terms: terms(3000, 20_000, 20_000, { contrasts: 2 }),
  }
  const matrices = Float32Array.from(tensor([60, 1, 32, 32], { seed: 7 }).data)
  const options = { n: 60, rows: 32, cols: 32, backend: /** @type {const} */ ('cuda') }
  const before = [await momentsOn('cuda', streamed), await svd(matrices, options)]
  const resident = await uploadTensor(tensor([1, 16_000, 2, 16], { seed: 8 }), { backend: 'cuda' })
  resident.release()
  t.deepEqual([await momentsOn('cuda', streamed), await svd(matrices, options)], before)
})

onHost('devices by index and UUID, several in one process, each with what is its own', async (t) => {
  const [first, second] = /** @type {const} */ (['cuda:0', 'cuda:1']).map(
    (name) => selectBackend(name).describe().device,
  )
  t.not(first.uuid, second.uuid)
  t.deepEqual(selectBackend(`cuda:${second.uuid}`).describe().device.name, second.name)
  const batch = {
    q: tensor([1, 40, 4, 16]),
    k: tensor([1, 40, 2, 16], { seed: 2 }),
    terms: terms(90, 40, 40),
  }
  t.deepEqual(await momentsOn('cuda:0', batch), await momentsOn('cuda:1', batch))
  const resident = await uploadTensor(batch.q, { backend: 'cuda:1' })
  const cov = new QKCovariance({ ...SPEC, backend: 'cuda:0' })
  await t.throwsAsync(cov.add({ ...batch, q: resident }), { code: 'ERR_ARGUMENT', message: /uploaded to/ })
  resident.release()
  t.throws(() => selectBackend('cuda:7'), {
    code: 'ERR_BACKEND',
    message: /no CUDA device '7'; there are 0 = .*\(GPU-.*\), 1 = /,
  })
})

onHost('the test of rank has the same signs as on the processor, and the same ranks', async (t) => {
  const data = plantedTerms({ units: 60, each: 2, heads: 3, d: 8, planted: 1, rank: 2, strength: 2, seed: 6 })
  const [cuda, cpu] = await Promise.all(
    /** @type {const} */ (['cuda', 'cpu']).map((backend) =>
      testRank({ ...data, draws: 99, mostDraws: 199, backend }),
    ),
  )
  t.deepEqual([...cuda.ranks], [2, 0, 0])
  t.deepEqual(cuda.ranks, cpu.ranks)
  // The GPU's null values are right to 0.1%: a draw that is nearer to the observed value may count for one of them only.
  // What decides is equal.
  const list = ({ tests }) =>
    tests[0].flatMap(({ p, componentP }) => [p.effect, p.interaction, ...componentP])
  const expected = list(cpu)
  t.is(list(cuda).length, expected.length)
  list(cuda).forEach((p, i) => {
    const most = Math.min(p, expected[i]) <= 0.05 ? 0 : 1 / 99
    t.true(Math.abs(p - expected[i]) <= most, `p ${i} is ${p}, on the processor ${expected[i]}`)
  })
})

onHost('a worker that is terminated in the middle takes nothing with it', async (t) => {
  const script = `
    import { QKCovariance } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)}
    import { tensor, terms } from ${JSON.stringify(new URL('../helpers/arithmetic-batches.js', import.meta.url).href)}
    import { parentPort } from 'node:worker_threads'
    const cov = new QKCovariance({ ...${JSON.stringify(SPEC)}, backend: 'cuda' })
    const batch = { q: tensor([1, 40, 4, 16]), k: tensor([1, 40, 2, 16]), terms: terms(20000, 40, 40) }
    const adding = cov.add(batch)
    parentPort.postMessage('adding')
    await adding`
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(script)}`))
  await new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  await worker.terminate()
  const moments = await momentsOn('cuda', {
    q: tensor([1, 40, 4, 16]),
    k: tensor([1, 40, 2, 16]),
    terms: terms(10, 40, 40),
  })
  t.deepEqual([...moments.terms], [10, 0])
})
