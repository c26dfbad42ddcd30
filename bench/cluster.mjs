/**
 * One worker of a cluster against two, each with one thread on a core of its own, as on two machines of one core. The runs
 * take turns; a run is timed from its submission to its result, with workers that wait for it. Beside the time stands the
 * processor time of the busiest worker, which others on the machine hardly change: what a core of its own would need.
 *
 *   node bench/cluster.mjs [--prompts 8192] [--shards 16] [--rounds 3]
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { Cluster } from '../test/helpers/cluster.js'

const { values } = parseArgs({
  options: {
    prompts: { type: 'string', default: '8192' },
    shards: { type: 'string', default: '16' },
    rounds: { type: 'string', default: '3' },
  },
})
const [prompts, shards, rounds] = [values.prompts, values.shards, values.rounds].map(Number)
/** Nothing but the capture: a test would be the merge's, which one worker does. */
const MORE = ['--rank', 'fixed:4', '--nulls', '0']

/** Clock ticks of Linux a second. */
const TICKS = 100

/** Seconds of processor time of a process. */
function processorTime(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

const ofWorkers = (workers) =>
  workers.map((worker) => [worker.pid, ...worker.children].reduce((sum, pid) => sum + processorTime(pid), 0))

async function measured(cluster, workers, round) {
  const all = Array.from({ length: workers }, (_, core) => cluster.worker({ core }))
  // A first run opens the model in every child process, and is none that counts.
  const warm = await cluster.submit('decompose', {
    shards: 2 * workers,
    prompts: 'few.jsonl',
    out: `warm-${workers}-${round}.safetensors`,
    more: [...MORE, '--seed', `${1000 * workers + round}`],
  }).ended
  const before = ofWorkers(all)
  const started = performance.now()
  const { status, stderr } = await cluster.submit('decompose', {
    shards,
    out: `${workers}-${round}.safetensors`,
    more: [...MORE, '--seed', `${1000 * workers + round}`],
  }).ended
  const time = (performance.now() - started) / 1000
  const each = ofWorkers(all).map((after, i) => after - before[i])
  if (warm.status !== 0 || status !== 0) {
    throw new Error(`${warm.stderr}${stderr}`)
  }
  await Promise.all(all.map((worker) => worker.kill('SIGTERM')))
  return { time, busiest: Math.max(...each), each }
}

const folder = mkdtempSync(path.join(tmpdir(), 'qkspace-bench-cluster-'))
const cluster = await Cluster.start(folder, { prompts })
cluster.writePrompts('few.jsonl', 64)
const found = { 1: [], 2: [] }
try {
  for (let round = 0; round < rounds; round++) {
    for (const workers of [1, 2]) {
      const load = loadavg()[0]
      const { time, busiest, each } = await measured(cluster, workers, round)
      found[workers].push({ time, busiest })
      console.log(
        `${workers} worker${workers > 1 ? 's' : ''}: ${time.toFixed(1)} s, processor time ` +
          `${each.map((own) => own.toFixed(1)).join(' and ')} s (load before: ${load.toFixed(1)})`,
      )
    }
  }
} finally {
  await cluster.end()
  rmSync(folder, { recursive: true, force: true })
}

const median = (workers, what) =>
  found[workers].map((one) => one[what]).sort((a, b) => a - b)[Math.floor(found[workers].length / 2)]
for (const what of ['time', 'busiest']) {
  const [one, two] = [median(1, what), median(2, what)]
  console.log(`${what}: ${one.toFixed(1)} s and ${two.toFixed(1)} s, ${(one / two).toFixed(2)} times as fast`)
}
