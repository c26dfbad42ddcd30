/** What the figures were measured on. Settings of the GPU are read and never set. */

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

export function machine(backend) {
  const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'))
  const { device, threads } = backend.describe()
  return {
    date: new Date().toISOString(),
    device,
    threads,
    cpu: cpus()[0].model.trim(),
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release()}`,
    versions: { qkspace: version, node: process.versions.node, cuda: device?.runtime },
    source: source(),
  }
}

/** Of which commit: a packed tree carries it along. */
function source() {
  const packed = `${root}packed.json`
  if (existsSync(packed)) {
    return JSON.parse(readFileSync(packed, 'utf8'))
  }
  const git = (...args) => spawnSync('git', args, { cwd: root, encoding: 'utf8' }).stdout?.trim()
  return { commit: git('rev-parse', 'HEAD') || undefined, changed: Boolean(git('status', '--porcelain')) }
}

const FIELDS = {
  driver: 'driver_version',
  smMHz: 'clocks.sm',
  memoryMHz: 'clocks.mem',
  maxSmMHz: 'clocks.max.sm',
  maxMemoryMHz: 'clocks.max.mem',
  watts: 'power.draw',
  limitWatts: 'power.limit',
  celsius: 'temperature.gpu',
}

/** Clocks now, as nvidia-smi reads them; undefined without it. */
export function clocks(uuid) {
  const { status, stdout } = spawnSync(
    'nvidia-smi',
    [`--id=${uuid}`, `--query-gpu=${Object.values(FIELDS).join(',')}`, '--format=csv,noheader,nounits'],
    { encoding: 'utf8' },
  )
  if (status !== 0) {
    return undefined
  }
  const values = stdout.trim().split(', ')
  return Object.fromEntries(
    Object.keys(FIELDS).map((name, i) => [name, name === 'driver' ? values[i] : Number(values[i])]),
  )
}
