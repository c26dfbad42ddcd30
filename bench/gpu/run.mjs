/**
 * The benchmark of the CUDA backend. Every case is verified against the cpu backend, then timed by the device's
 * events on fresh random data and cold caches. Figures are medians, beside what the machine can do (a large copy, large
 * products) and what PyTorch and CuPy do on it, where Python has them.
 *
 *   npm run bench:gpu                                     everything
 *   npm run bench:gpu -- --case svd --case category       some cases
 *   npm run bench:gpu -- --size rows=65536                other sizes: bench/gpu/sizes.mjs names them
 *   npm run bench:gpu -- --backend cuda:1                 another device
 *   npm run bench:gpu -- --results FOLDER                 where the figures go (default bench/results)
 *   npm run bench:gpu -- --python EXE --peers-on-cpu      another Python; peers on the processor, to try the script
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { selectBackend } from '../../dist/backend/select.js'
import { uploadTensor } from '../../dist/covariance/device-tensor.js'
import { cases } from './cases/index.mjs'
import { clocks, machine } from './machine.mjs'
import { cacheFlush } from './measure.mjs'
import { measurePeers } from './peers.mjs'
import { printCeilings, printFigures } from './report.mjs'
import { sizesFrom } from './sizes.mjs'

const { values: options } = parseArgs({
  options: {
    case: { type: 'string', multiple: true, default: Object.keys(cases) },
    size: { type: 'string', multiple: true, default: [] },
    backend: { type: 'string', default: 'cuda' },
    results: { type: 'string', default: fileURLToPath(new URL('../results', import.meta.url)) },
    python: { type: 'string' },
    'peers-on-cpu': { type: 'boolean', default: false },
  },
})

try {
  await run()
} catch (error) {
  process.stderr.write(`${error.message}\n`)
  process.exit(1)
}

async function run() {
  const unknown = options.case.find((name) => !cases[name])
  if (unknown) {
    throw new Error(`there is no case '${unknown}'; cases: ${Object.keys(cases).join(', ')}`)
  }
  const sizes = sizesFrom(options.size)
  const backend = selectBackend(options.backend)
  const { device } = backend.describe()
  // Before anything of ours is on the device: peers need much of its memory.
  const pytorch = measurePeers(sizes, {
    python: options.python,
    onCpu: options['peers-on-cpu'],
    uuid: device.uuid,
  })
  const report = { ...machine(backend), sizes, clocks: { start: clocks(device.uuid) }, pytorch, cases: {} }
  const file = path.join(
    options.results,
    `${report.date.slice(0, 16).replace(':', '')}-${slug(device.name)}.json`,
  )
  mkdirSync(options.results, { recursive: true })
  printCeilings(report)

  const bench = {
    name: options.backend,
    backend,
    pytorch,
    repeats: sizes.repeats,
    flush: cacheFlush(options.backend, sizes.flushMiB),
    upload: (tensor) => uploadTensor(tensor, { backend: options.backend }),
  }
  let failed = false
  for (const name of options.case) {
    report.cases[name] = await runCase(cases[name], bench, sizes)
    report.clocks[name] = clocks(device.uuid)
    failed ||= report.cases[name].variants?.some((variant) => variant.failed) ?? false
    // After every case, so that a long run that is stopped keeps what it has.
    writeFileSync(file, `${JSON.stringify(report, null, 1)}\n`)
  }
  process.stdout.write(`\nwritten ${file}\n`)
  if (failed) {
    throw new Error('some figures are missing')
  }
}

async function runCase({ title, variants, run: runVariant }, bench, sizes) {
  process.stdout.write(`\n${title}\n`)
  const found = []
  for (const variant of variants(sizes)) {
    const figures = await runVariant(bench, sizes, variant).catch((error) => ({ failed: error.message }))
    found.push({ label: variant.label, ...figures })
    printFigures(found.at(-1))
  }
  return { title, variants: found }
}

function slug(name) {
  return name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
}
