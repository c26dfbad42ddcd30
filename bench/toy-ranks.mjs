/**
 * Are the ranks of the toy's latents recovered? Trains fresh models, each in its own process, and decomposes
 * them: the ranks of ΔC(z1) and ΔC(z2) at 99% energy should be r1 and r2 where r1 + r2 fits in the head.
 *
 *   node bench/toy-ranks.mjs [--quick] [--task 1|2] [--seeds 1,2,3] [--json]
 *
 * "least" is the smallest share of the energy that one of the r true directions has, in percent: above 1 it
 * counts. "beyond" is the share outside them, which sampling leaves even where the rank is exact.
 */

import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { openModel } from '../dist/index.js'
import { decomposeToy } from '../dist/toy/decompose.js'
import { versions } from '../dist/versions.js'

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    task: { type: 'string' },
    seeds: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  },
})

const CLI = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const sizes = options.quick ? [3, 7] : [3, 5, 7]
const tasks = options.task ? [Number(options.task)] : [1, 2]
const seeds = options.seeds.split(',').map(Number)

const cases = tasks.flatMap((task) => [
  ...sizes.flatMap((r1) => sizes.map((r2) => ({ task, r1, r2, dHead: 16 }))),
  { task, r1: 5, r2: 5, dHead: 8 },
])

const folder = await mkdtemp(path.join(tmpdir(), 'qkspace-toys-'))
const rows = []
try {
  if (!options.json) {
    printRow(['task', 'd_head', 'seed', 'truth', 'found', '', 's', 'accuracy', 'least %', 'beyond %'])
  }
  for (const seed of seeds) {
    for (const toy of cases) {
      const row = await measure({ ...toy, seed })
      rows.push(row)
      if (!options.json) {
        printRow(cells(row))
      }
    }
  }
} finally {
  await rm(folder, { recursive: true })
}

const inHead = rows.filter(({ fits }) => fits)
const recovered = inHead.filter(({ exact }) => exact).length
const machine = { cpu: cpus()[0].model, cores: cpus().length, node: process.version, ...versions() }
if (options.json) {
  process.stdout.write(`${JSON.stringify({ rows, recovered, of: inHead.length, machine }, null, 2)}\n`)
} else {
  console.log(`\n${recovered} of ${inHead.length} that fit recovered; ${JSON.stringify(machine)}`)
}
process.exitCode = recovered === inHead.length ? 0 : 1

async function measure({ task, r1, r2, dHead, seed }) {
  const out = path.join(folder, `${task}-${r1}-${r2}-${dHead}-${seed}.onnx`)
  const flags = { task, r1, r2, 'd-head': dHead, seed, out }
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, `${value}`])
  if (options.quick) {
    args.push('--quick')
  }
  const trained = await promisify(execFile)(process.execPath, [CLI, 'toy', 'train', ...args, '--json'])
  const { seconds, accuracy, loss } = JSON.parse(trained.stdout)

  const model = await openModel(out)
  const ranked = (await decomposeToy(model)).head('L0H0')
  const found = ['z1', 'z2'].map((name) => ranked.contrast(name).rank)
  const whole = (await decomposeToy(model, { energy: 1 })).head('L0H0')
  const shares = ['z1', 'z2'].map((name) => {
    const { s, totalEnergy } = whole.contrast(name)
    return Array.from(s, (value) => (100 * value * value) / totalEnergy)
  })
  const truth = [r1, r2]
  return {
    task,
    dHead,
    seed,
    truth,
    found,
    exact: truth.join() === found.join(),
    fits: r1 + r2 <= dHead,
    seconds,
    accuracy,
    loss,
    least: Math.min(...shares.map((share, i) => share[truth[i] - 1] ?? 0)),
    beyond: Math.max(...shares.map((share, i) => share.slice(truth[i]).reduce((a, b) => a + b, 0))),
  }
}

function cells({ task, dHead, seed, truth, found, exact, fits, seconds, accuracy, least, beyond }) {
  const verdict = exact ? 'exact' : fits ? 'MISSED' : 'does not fit'
  const figures = [seconds.toFixed(1), accuracy.toFixed(3), least.toFixed(2), beyond.toExponential(0)]
  return [task, dHead, seed, truth.join('+'), found.join('+'), verdict, ...figures]
}

function printRow(cells) {
  const widths = [4, 6, 4, 5, 5, 12, 6, 8, 7, 8]
  console.log(cells.map((cell, i) => `${cell}`.padStart(widths[i])).join('  '))
}
