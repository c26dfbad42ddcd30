/** `qkspace submit`: splits a run into shards for the workers of a queue, and waits for the result. */

import path from 'node:path'
import type { Command } from 'commander'
import type { RunSpec, RunWork } from '../../cluster/run-spec.js'
import type { RunStatus, Runs } from '../../cluster/runs.js'
import { QkError } from '../../errors.js'
import { sweepOutput } from '../../report/sweep-output.js'
import { makeFolder } from '../../store/atomic-file.js'
import { fileHash } from '../../store/file-hash.js'
import { checkResultPath } from '../../store/result.js'
import { counted } from '../../validate.js'
import {
  addDecomposeOptions,
  type CaptureSettings,
  checkDecompose,
  type DecomposeSettings,
  rowBytes,
} from '../analysis/decompose.js'
import { addSweepOptions, type SweepSettings, sweepSettings } from '../analysis/sweep.js'
import { parseWhole } from '../common/options.js'
import { printJson, printLine, printNote, printWarnings, progressBar } from '../common/output.js'
import { asUsage } from '../common/usage.js'
import { addPlaceOptions, type PlaceOptions } from './place-options.js'

interface Options extends PlaceOptions {
  models: string
  model: string
  prompts?: string
  shards: number
  folder: string
  out: string
  detach?: boolean
  json?: boolean
}

const MOST_SHARDS = 100_000

export function registerSubmit(program: Command): void {
  const submit = program
    .command('submit')
    .description('run decompose or sweep on the workers of a queue (qkspace worker)')
  const withFiles = (command: Command) =>
    addPlaceOptions(command)
      .requiredOption('--models <file>', 'JSON: which files the name of a model means, as of the workers')
      .requiredOption('--model <name>', 'a name in it')
      .requiredOption('--shards <n>', 'jobs that the capture is split into', parseWhole(1, MOST_SHARDS))
      .requiredOption('--folder <folder>', 'shared by all workers under this name; shards are kept there')
      .option('--detach', 'print the name of the run, and do not wait for it')
  const withOut = (command: Command, out: string) =>
    command
      .requiredOption('--out <path>', out)
      .option('--json', 'print one JSON document; progress as JSON lines on standard error')

  const decompose = withFiles(submit.command('decompose'))
    .description('find the query-key subspaces of named contrasts, as qkspace decompose')
    .requiredOption('--prompts <file>', 'prompt set, JSONL, under a name that the workers share')
  withOut(addDecomposeOptions(decompose), 'result, in a folder that is shared')
    .addHelpText(
      'after',
      `
Example:
  qkspace submit decompose --models models.json --model boxes --prompts /shared/boxes.jsonl --shards 64 --folder /shared/runs --out /shared/boxes.safetensors`,
    )
    .action((options: Options & CaptureSettings & DecomposeSettings) => submitDecompose(options))

  const sweep = withFiles(submit.command('sweep'))
    .description('test every head, and say what the discovered ones do, as qkspace sweep')
    .option('--prompts <file>', 'prompt set under a name that the workers share; with --roles also none')
  withOut(addSweepOptions(sweep), 'a folder that is shared, or one file in it')
    .addHelpText(
      'after',
      `
Example:
  qkspace submit sweep --models models.json --model boxes --roles --shards 8 --folder /shared/runs --out /shared/found`,
    )
    .action((options: Options & SweepSettings) => submitSweep(options))

  registerLooks(submit)
}

function registerLooks(submit: Command): void {
  addPlaceOptions(submit.command('status').description('how far a run is').argument('<run>', 'its name'))
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  qkspace submit status decompose-0123456789abcdef')
    .action((run: string, options: PlaceOptions & { json?: boolean }) =>
      withRuns(options, async (runs) => {
        const status = await runs.status(run)
        if (options.json) {
          printJson(status)
        } else {
          printStatus(status)
        }
      }),
    )
  addPlaceOptions(
    submit.command('cancel').description('end a run; its files stay').argument('<run>', 'its name'),
  )
    .addHelpText('after', '\nExample:\n  qkspace submit cancel decompose-0123456789abcdef')
    .action((run: string, options: PlaceOptions) =>
      withRuns(options, async (runs) => {
        await runs.cancel(run)
        printLine(`cancelled ${run}`)
      }),
    )
}

/** Errors: ERR_NOT_INSTALLED, ERR_NETWORK, ERR_USAGE. */
async function withRuns<T>(place: PlaceOptions, work: (runs: Runs) => Promise<T>): Promise<T> {
  const { askRedis, checkPlace } = await import('../../cluster/connection.js')
  const { Runs } = await import('../../cluster/runs.js')
  await asUsage((async () => checkPlace(place))())
  printWarnings(await askRedis(place))
  const runs = await Runs.open(place)
  try {
    return await work(runs)
  } finally {
    await runs.close()
  }
}

async function submitDecompose(options: Options & CaptureSettings & DecomposeSettings): Promise<void> {
  checkDecompose(options)
  await asUsage(checkResultPath(options.out))
  const { heads, estimator, backend, batchSize, center, rank, nulls, seed, covariances, spectrum } = options
  await submitWork(options, {
    command: 'decompose',
    capture: { heads, estimator, backend, batchSize, nullBytes: rowBytes(options) },
    decompose: { center, rank, nulls, seed, keepCovariances: covariances, spectrum },
  })
}

async function submitSweep(options: Options & SweepSettings): Promise<void> {
  const settings = sweepSettings(options, options.prompts)
  await asUsage(sweepOutput(options.out))
  await submitWork(options, { command: 'sweep', sweep: settings })
}

async function submitWork(options: Options, work: RunWork): Promise<void> {
  if (options.prompts === '-') {
    throw new QkError('ERR_USAGE', 'workers cannot read standard input: --prompts is a file that they share')
  }
  await withRuns(options, async (runs) => {
    const spec = await specOf(options, work)
    const run = await runs.submit(spec, path.resolve(options.out))
    if (options.detach) {
      if (options.json) {
        printJson(await runs.status(run))
      } else {
        printLine(run)
      }
      return
    }
    if (!options.json) {
      printNote(`run ${run}; it goes on without this command: qkspace submit status ${run}`)
    }
    const status = await waitFor(runs, run, options.json ?? false)
    printWarnings(status.warnings)
    if (options.json) {
      printJson(status)
    }
    if (status.state === 'done') {
      if (!options.json) {
        printLine(`saved ${status.saved?.join(', ')}`)
      }
      return
    }
    throw new QkError(
      'ERR_CLUSTER',
      `the run ${run} ${status.state === 'cancelled' ? GONE : `failed: ${status.reason}`}`,
    )
  })
}

const GONE = 'is not in the queue any more: it was cancelled, or Redis has forgotten it'

async function waitFor(runs: Runs, run: string, json: boolean): Promise<RunStatus> {
  const bar = progressBar('shards')
  try {
    return await runs.wait(run, (status) => {
      if (json) {
        process.stderr.write(`${JSON.stringify(status)}\n`)
        return
      }
      printWarnings(
        status.refusals.map(({ worker, reason }) => `worker ${worker} does not take the run: ${reason}`),
      )
      bar.update(status.done + status.failed.length, status.shards)
    })
  } finally {
    bar.stop()
  }
}

async function specOf(options: Options, work: RunWork): Promise<RunSpec> {
  const { modelHashes, modelNamed, readModels } = await import('../../cluster/models-file.js')
  const { ownVersion } = await import('../../cluster/run-spec.js')
  const models = await readModels(options.models)
  const named = await asUsage((async () => modelNamed(models, options.model, options.models))())
  const folder = path.resolve(options.folder)
  makeFolder(folder)
  const prompts = options.prompts === undefined ? undefined : path.resolve(options.prompts)
  return {
    formatVersion: 1,
    version: ownVersion(),
    // As it is after its way through the queue.
    work: JSON.parse(JSON.stringify(work)) as RunWork,
    model: { name: options.model, ...(await modelHashes(named)) },
    ...(prompts !== undefined && { prompts: { file: prompts, sha256: (await fileHash(prompts)).sha256 } }),
    shards: options.shards,
    folder,
  }
}

const STATES: Record<RunStatus['state'], string> = {
  capture: 'shards are captured',
  merge: 'shards are put together',
  done: 'done',
  failed: 'failed',
  cancelled: 'cancelled',
}

function printStatus(status: RunStatus): void {
  const { run, state, shards, done, running, failed, refusals, saved, reason } = status
  printLine(`${run}: ${STATES[state]}`)
  printLine(`${done} of ${counted(shards, 'shard')} done, ${running.length} running, ${failed.length} failed`)
  for (const { worker, reason: why } of refusals) {
    printLine(`worker ${worker} does not take the run: ${why}`)
  }
  if (reason !== undefined) {
    printLine(reason)
  } else {
    for (const { shard, reason: why } of failed) {
      printLine(`shard ${shard}/${shards}: ${why}`)
    }
  }
  if (saved) {
    printLine(`saved ${saved.join(', ')}`)
  }
}
