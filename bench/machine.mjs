/** What the figures were measured on. */

import { availableParallelism, cpus, release, totalmem } from 'node:os'
import { backends } from '../dist/index.js'
import { versions } from '../dist/versions.js'

export function machine() {
  const cpu = backends().find((b) => b.name === 'cpu')?.description
  return {
    date: new Date().toISOString(),
    cpu: cpus()[0].model.trim(),
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release()}`,
    instructionSet: cpu?.instructionSet ?? 'none',
    versions: versions(),
  }
}
