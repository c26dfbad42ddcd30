import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { backends, selectBackend } from '../../dist/backend/select.js'

const select = JSON.stringify(new URL('../../dist/backend/select.js', import.meta.url))

async function inProcess(environment, choice) {
  const script = `
    const { selectBackend } = await import(${select})
    try {
      const backend = selectBackend(${JSON.stringify(choice)})
      console.log(JSON.stringify(backend.describe()))
    } catch (error) {
      console.log(JSON.stringify({ code: error.code, message: error.message, hint: error.hint }))
    }`
  const env = { ...process.env, QKSPACE_BACKEND: '', QKSPACE_ISA: '', ...environment }
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    env,
  })
  return JSON.parse(stdout)
}

test('every backend is listed, with a reason where it cannot be used', (t) => {
  const list = backends()
  t.deepEqual(
    list.map((b) => b.name),
    ['cpu', 'js', 'cuda'],
  )
  for (const b of list) {
    t.is(b.available, b.reason === undefined)
  }
  t.is(selectBackend('js').name, 'js')
  t.is(selectBackend('js'), selectBackend('js'))
})

test('auto prefers cpu; the environment may force another backend or instruction set', async (t) => {
  t.is((await inProcess({}, 'auto')).name, 'cpu')
  t.is((await inProcess({ QKSPACE_BACKEND: 'js' }, 'auto')).name, 'js')
  t.is((await inProcess({ QKSPACE_BACKEND: 'js' }, 'cpu')).name, 'cpu')
  t.is((await inProcess({ QKSPACE_ISA: 'baseline' }, 'auto')).instructionSet, 'baseline')
})

test('what does not exist is a clear error', async (t) => {
  const missing = await inProcess({ QKSPACE_CUDA_LIBRARY: '/nowhere/qkspace_cuda.so' }, 'cuda')
  t.is(missing.code, 'ERR_BACKEND')
  t.regex(missing.message, /not there: there is no \/nowhere\/qkspace_cuda\.so/)
  t.like(await inProcess({}, 'wasm'), { code: 'ERR_BACKEND' })
  const isa = await inProcess({ QKSPACE_ISA: 'avx1024' }, 'auto')
  t.is(isa.code, 'ERR_BACKEND')
  t.regex(isa.message, /avx1024.*baseline/)
})
