/** `qkspace worker`: does the jobs of a queue. */

import { type Command, Option } from 'commander'
import { removeUnfinishedFiles } from '../../store/atomic-file.js'
import { parseWhole } from '../common/options.js'
import { printNote } from '../common/output.js'
import { parseSeconds } from '../common/scale-options.js'
import { asUsage } from '../common/usage.js'
import { addPlaceOptions, type PlaceOptions } from './place-options.js'

interface Options extends PlaceOptions {
  models: string
  concurrency: number
  threads?: number
  takeover: number
}

export function registerWorker(program: Command): void {
  const command = program
    .command('worker')
    .description('compute shards of submitted runs, until it is ended')
    .requiredOption('--models <file>', 'JSON: which files of this machine the name of a model means')
  addPlaceOptions(command)
    .option('--concurrency <n>', 'jobs at a time, each in a process of its own', parseWhole(1, 1024), 1)
    .option('--threads <n>', 'threads of each (default: all cores)', parseWhole(1, 1024))
    .addOption(
      new Option('--takeover <time>', 'without a sign of life for so long, its jobs go to other workers')
        .argParser(parseSeconds)
        .default(30, '30s'),
    )
    .addHelpText(
      'after',
      `
The file of models: { "boxes": { "model": "boxes.onnx", "tokenizer": "tokenizer.json" } }, paths relative to it. Ctrl-C gives
back what the worker is at. All workers of a queue have the same --takeover. Needs: npm install bullmq ioredis

Example:
  qkspace worker --models models.json --redis redis://10.0.0.5:6379 --concurrency 2`,
    )
    .action(run)
}

async function run(options: Options): Promise<void> {
  const { runWorker } = await import('../../cluster/worker.js')
  const ending = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    // The second one ends at once; other workers take over.
    process.once(signal, () => {
      process.once(signal, () => {
        removeUnfinishedFiles()
        process.exit(1)
      })
      ending.abort()
    })
  }
  await asUsage(runWorker({ ...options, tell: printNote, signal: ending.signal }))
  // Connections that wait for a Redis that is away would keep the process.
  process.exit(0)
}
