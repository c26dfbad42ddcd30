/** Nothing leaves the machine, and nothing is written where it was not asked for (contract 10). */

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import test from 'ava'
import { temporaryFolder } from './helpers/files.js'

const folder = temporaryFolder(test)
const url = (file) =>
  JSON.stringify(pathToFileURL(fileURLToPath(new URL(`../${file}`, import.meta.url))).href)

/**
 * What a script leaves in an empty home. Its environment is bare: onnxruntime is silent by itself where a
 * variable says that it runs in a CI, and these tests would then show nothing.
 */
function writtenAtHome(t, name, script) {
  const home = path.join(folder, name)
  mkdirSync(home)
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    env: {
      PATH: process.env.PATH,
      LD_LIBRARY_PATH: process.env.LD_LIBRARY_PATH ?? '',
      HOME: home,
      USERPROFILE: home,
    },
  })
  t.is(status, 0, stderr)
  return readdirSync(home, { recursive: true })
}

const OPEN = `
  const { bundledFile, openModel } = await import(${url('dist/index.js')})
  const { sites } = await openModel(bundledFile('boxes.onnx'))
  if (sites.length !== 4) throw new Error('the model was not read')
`

test('opening a model writes nothing into an empty home', (t) => {
  t.deepEqual(writtenAtHome(t, 'main', OPEN), [])
})

test('nor does it from a worker thread, whose environment is a copy', (t) => {
  const script = `
    import { once } from 'node:events'
    import { Worker } from 'node:worker_threads'
    const program = 'import("node:process").then(async () => {' + ${JSON.stringify(OPEN)} + '})'
    const [code] = await once(new Worker(program, { eval: true }), 'exit')
    process.exitCode = code
  `
  t.deepEqual(writtenAtHome(t, 'worker', script), [])
})

test('onnxruntime by itself does write there: the tests above would see it', (t) => {
  const script = `
    import * as ort from 'onnxruntime-node'
    const { bundledFile } = await import(${url('dist/bundled/files.js')})
    await ort.InferenceSession.create(bundledFile('boxes.onnx'))
  `
  t.true(writtenAtHome(t, 'plain', script).length > 0)
})
