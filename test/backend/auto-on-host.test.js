/** What 'auto' takes where there is a GPU: the emulator. */

import { execFile } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { promisify } from 'node:util'
import test from 'ava'
import { edge } from '../../dist/backend/cost/cost.js'
import { cudaOnHost, noCompiler } from '../helpers/cuda-on-host.js'
import { cli } from '../helpers/files.js'

const arrays = JSON.stringify(new URL('../../dist/arrays.js', import.meta.url))
const rank = JSON.stringify(new URL('../../dist/spectrum/rank/test-rank.js', import.meta.url))
const sizes = { heads: 32, kvHeads: 8, headDim: 128 }
/** In a process of its own, whose environment says what there is. */
async function inProcess(script, environment) {
  const env = {
    ...process.env,
    QKSPACE_BACKEND: '',
    QKSPACE_ISA: '',
    QKSPACE_CUDA_LIBRARY: cudaOnHost(),
    ...environment,
  }
  const text = `
    const { QKCovariance, svd } = await import(${arrays})
    // Not the one of arrays.js, which loads it first.
    const { testRank } = await import(${rank})
    ${script}`
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '-e', text],
    {
      env,
    },
  )
  return { ...JSON.parse(stdout), stderr }
}

const reason = noCompiler()
if (reason) {
  test.skip(`auto on the host: ${reason}`, () => {})
} else {
  const from = edge((terms) => [{ kind: 'terms', ...sizes, terms }], { cores: availableParallelism() })
  const names = (more = {}) => `
    const name = (expectedTerms) => {
      const cov = new QKCovariance({ heads: 32, kvHeads: 8, headDim: 128, contrasts: ['a'], expectedTerms })
      const { name } = cov.backend
      cov.dispose()
      return name
    }
    const terms = { contrast: 'a', query: [0], posOffsets: [0, 1], pos: [1], negOffsets: [0, 1], neg: [2] }
    const cov = new QKCovariance({ heads: 4, headDim: 64, contrasts: ['a'], expectedTerms: 2 ** 50, ...${JSON.stringify(more)} })
    const q = { data: new Float32Array(3 * 4 * 64).fill(2), shape: [1, 3, 4, 64] }
    await cov.add({ q, k: q, terms })
    const { cPos } = await cov.read()
    console.log(JSON.stringify({
      below: name(${Math.floor(from / 2)}), above: name(${2 * from}), unknown: name(undefined),
      used: cov.backend.name, value: cPos[0],
    }))`

  test('covariances of many terms go to the GPU, of few or of unknown many to the processor', async (t) => {
    t.like(await inProcess(names(), {}), {
      below: 'cpu',
      above: 'cuda',
      unknown: 'cpu',
      used: 'cuda',
      value: 4,
      stderr: '',
    })
  })

  test('the environment overrides auto, and a forced instruction set keeps to the processor', async (t) => {
    const all = (name) => ({ below: name, above: name, unknown: name, used: name })
    t.like(await inProcess(names(), { QKSPACE_BACKEND: 'cpu' }), all('cpu'))
    t.like(await inProcess(names(), { QKSPACE_BACKEND: 'cuda' }), all('cuda'))
    t.like(await inProcess(names(), { QKSPACE_ISA: 'baseline' }), all('cpu'))
    t.like(await inProcess(names({ backend: 'cpu' }), { QKSPACE_BACKEND: 'cuda' }), {
      used: 'cpu',
      below: 'cuda',
    })
  })

  test('a GPU that cannot be used, or has too little memory, is passed over in silence', async (t) => {
    const all = { below: 'cpu', above: 'cpu', used: 'cpu', stderr: '' }
    t.like(await inProcess(names(), { QKSPACE_CUDA_LIBRARY: '/nowhere/qkspace_cuda.so' }), all)
    // The few sums of the last fit.
    t.like(await inProcess(names(), { QKSPACE_CUDA_MEMORY: `${2 ** 24}` }), { ...all, used: 'cuda' })
  })

  // The choice is made before the call first waits, and the call is aborted then: whether the library of the GPU has
  // been loaded says what was chosen.
  const chosen = (call) => `
    const { readFileSync } = await import('node:fs')
    const controller = new AbortController()
    const { signal } = controller
    const zeros = (length) => new Float32Array(new SharedArrayBuffer(4 * length))
    const calling = ${call}
    controller.abort()
    const { code } = await calling.then(() => ({}), (error) => error)
    const name = readFileSync('/proc/self/maps', 'utf8').includes('qkspace_cuda') ? 'cuda' : 'cpu'
    console.log(JSON.stringify({ code, name }))`
  const cores = { cores: availableParallelism(), gpuStart: 0 }
  const always = { QKSPACE_GPU_START: '0' }

  test('decompositions of many matrices go to the GPU, of few to the processor', async (t) => {
    const edgeHere = edge((n) => [{ kind: 'svd', n, rows: 32, cols: 32, full: true }], cores)
    const call = (n) => chosen(`svd(zeros(${n} * 1024), { n: ${n}, rows: 32, cols: 32, signal })`)
    const few = Math.floor((edgeHere ?? 1000) / 2)
    t.like(await inProcess(call(few), always), { code: 'ERR_ABORTED', name: 'cpu' })
    const name = edgeHere ? 'cuda' : 'cpu'
    t.like(await inProcess(call(4 * few), always), { code: 'ERR_ABORTED', name })
  })

  test('tests of rank of many draws go to the GPU, of few to the processor', async (t) => {
    const work = (draws) => [
      /** @type {const} */ ({ kind: 'flips', heads: 4, kvHeads: 4, headDim: 32, rows: 200, draws }),
    ]
    const call = (draws) =>
      chosen(`(() => {
        const offsets = Int32Array.from({ length: 201 }, (_, i) => i)
        const rows = offsets.subarray(0, 200)
        const [q, k] = [zeros(200 * 128), zeros(400 * 128)].map((data) => ({ data, shape: [1, data.length / 128, 4, 32] }))
        const terms = { query: rows, pos: rows, neg: rows.map((i) => 200 + i), posOffsets: offsets, negOffsets: offsets }
        return testRank({ q, k, terms, draws: ${draws}, signal })
      })()`)
    const edgeHere = edge(work, cores)
    t.like(await inProcess(call(Math.floor(edgeHere / 2)), always), { code: 'ERR_ABORTED', name: 'cpu' })
    t.like(await inProcess(call(2 * edgeHere), always), { code: 'ERR_ABORTED', name: 'cuda' })
    // A GPU that has to be started first.
    t.like(await inProcess(call(2 * edgeHere), {}), { code: 'ERR_ABORTED', name: 'cpu' })
  })

  test('the seconds that starting a GPU counts for are a number', async (t) => {
    const call = chosen(
      'svd(zeros(64), { n: 1, rows: 8, cols: 8, signal }).catch((error) => { throw error })',
    )
    t.like(await inProcess(call, { QKSPACE_GPU_START: 'soon' }), { code: 'ERR_ARGUMENT' })
    t.like(await inProcess(call, { QKSPACE_GPU_START: '-1' }), { code: 'ERR_ARGUMENT' })
  })

  test('doctor tells the rule, and why there is no GPU where there is none', async (t) => {
    const doctor = async (environment) => {
      const env = { ...process.env, QKSPACE_CUDA_LIBRARY: cudaOnHost(), ...environment }
      return (await promisify(execFile)(process.execPath, [cli, 'doctor', '--json'], { env })).stdout
    }
    const { auto, devices } = JSON.parse(await doctor({}))
    t.is(devices.length, 2)
    t.is(auto.edges[0].from, from)
    t.is(auto.cores, availableParallelism())
    const env = { ...process.env, QKSPACE_CUDA_LIBRARY: cudaOnHost() }
    const said = (await promisify(execFile)(process.execPath, [cli, 'doctor'], { env })).stdout
    t.regex(
      said,
      /^auto: cuda above about [\d,]+ terms of 32 query and 8 key heads of d = 128, .*, cpu below/m,
    )
    t.regex(said, /^GPU +CUDA on the host, device 1 \(no GPU\) \(cuda:1\)/m)
    t.regex(said, /^cuda:0,1 divides the heads among all of them$/m)
    const without = { ...env, QKSPACE_CUDA_LIBRARY: '/nowhere' }
    const none = (await promisify(execFile)(process.execPath, [cli, 'doctor'], { env: without })).stdout
    t.regex(none, /^auto: cpu, as no GPU can be used; one would be taken above about/m)
  })
}
