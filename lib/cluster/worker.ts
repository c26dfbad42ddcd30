/** A worker: takes jobs from the queue, and has child processes do them. */

import { hostname } from 'node:os'
import path from 'node:path'
import type { Job, Worker } from 'bullmq'
import { checkPlace, lastingConnection, loadBullmq, type Place } from './connection.js'
import { readModels } from './models-file.js'
import type { ShardDone } from './process-job.js'
import type { MergeJob, ShardJob } from './run-spec.js'
import { runId } from './run-spec.js'
import type { Merged } from './run-work.js'
import { childEnvironment, type Refusal, STOPPED } from './worker-settings.js'

export interface WorkerOptions extends Place {
  /** `models.json`. */
  models: string
  /** Jobs at a time, each in a process of its own. */
  concurrency: number
  /** Threads of each; all cores by default. */
  threads?: number
  /** Seconds without a sign of life after which another worker takes over what this one has. */
  takeover: number
  /** Told in a sentence what happens. */
  tell: (line: string) => void
  /** Ends the worker: what it is at goes back to the queue. */
  signal: AbortSignal
}

/** Between two looks at whether a run was cancelled. */
const CANCEL_MS = 1000
/** A worker that is wrong for a run leaves the queue to others for so long. */
const REFUSAL_MS = 15_000
/** A job that takes its worker down with it, again and again, fails in the end. */
const MOST_STALLS = 100
/** For what the child processes are at when the worker ends. */
const END_MS = 10_000
/** Errors of a connection that is taken up again. */
const LOST = ['ECONNREFUSED', 'ECONNRESET', 'ENOTFOUND', 'ETIMEDOUT', 'EPIPE', 'EHOSTUNREACH']

/** Works until the signal aborts. Errors: ERR_NOT_INSTALLED, ERR_ARGUMENT, ERR_FILE and ERR_FORMAT of `models.json`. */
export async function runWorker(options: WorkerOptions): Promise<void> {
  const { queue, concurrency, takeover, tell, signal } = options
  checkPlace(options)
  const bullmq = await loadBullmq()
  const models = path.resolve(options.models)
  await readModels(models)
  const active = new Map<string, Job>()
  const worker = new bullmq.Worker(queue, new URL('process-job.js', import.meta.url), {
    connection: lastingConnection(options),
    name: `${hostname()}:${process.pid}`,
    concurrency,
    lockDuration: 1000 * takeover,
    stalledInterval: 1000 * takeover,
    maxStalledCount: MOST_STALLS,
    runRetryDelay: 1000,
    workerForkOptions: { env: childEnvironment({ models, threads: options.threads }), execArgv: [] },
  })
  worker.on('active', (job) => active.set(job.id!, job))
  worker.on('completed', (job, result: ShardDone | Merged) => {
    active.delete(job.id!)
    tell(`${job.id} is done${'found' in result && result.found ? ': its file was there' : ''}`)
  })
  worker.on('failed', (job, error) => {
    active.delete(job?.id ?? '')
    tell(`${job?.id} failed: ${error.message}`)
  })
  worker.on('stalled', (id) => tell(`${id} is taken over: its worker gives no sign of life`))
  worker.on('progress', (job, progress) => {
    const { refused } = progress as unknown as Refusal
    if (typeof refused !== 'string') {
      // What `noteRefusal` wrote itself.
      return
    }
    tell(`${job.id} is refused: ${refused}`)
    active.delete(job.id!)
    void pauseFor(worker, REFUSAL_MS)
    void noteRefusal(worker, bullmq, job, refused)
  })
  tellConnection(worker, bullmq, tell)
  const looking = setInterval(() => void cancelWhatWas(worker, bullmq, active), CANCEL_MS)
  await new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
  clearInterval(looking)
  worker.cancelAllJobs(STOPPED)
  await Promise.race([worker.close(), new Promise((resolve) => setTimeout(resolve, END_MS))])
}

type Bullmq = typeof import('bullmq')

const runOf = ({ data }: Job): string => runId((data as MergeJob | ShardJob).spec)

/** Stops the jobs of runs that were cancelled: those whose merge says so, or is gone. */
async function cancelWhatWas(worker: Worker, { Job }: Bullmq, active: Map<string, Job>): Promise<void> {
  try {
    const runs = new Map<string, boolean>()
    for (const [id, job] of active) {
      const run = runOf(job)
      if (!runs.has(run)) {
        const merge = await Job.fromId(worker, run)
        runs.set(run, merge === undefined || (merge.data as MergeJob).cancelled === true)
      }
      if (runs.get(run)) {
        worker.cancelJob(id, 'cancelled')
      }
    }
  } catch {
    // Redis is away: the next look tells.
  }
}

async function pauseFor(worker: Worker, milliseconds: number): Promise<void> {
  await worker.pause(true)
  setTimeout(() => worker.resume(), milliseconds).unref()
}

/** What the merge of a run says while it waits: who refused the run, and why. */
export interface RunProgress {
  refused: Record<string, string>
}

async function noteRefusal(worker: Worker, { Job }: Bullmq, job: Job, refused: string): Promise<void> {
  try {
    const merge = await Job.fromId(worker, runOf(job))
    const before = (merge?.progress as RunProgress | undefined)?.refused
    await merge?.updateProgress({ refused: { ...before, [worker.opts.name!]: refused } } as object)
  } catch {
    // It was cancelled meanwhile.
  }
}

/** Says once that Redis is away, and once that it is back. */
function tellConnection(worker: Worker, { Job }: Bullmq, tell: (line: string) => void): void {
  let away = false
  const waitUntilBack = async () => {
    // A command waits until there is somebody to answer it.
    await Job.fromId(worker, 'none').catch(() => undefined)
    away = false
    tell('Redis is back')
  }
  worker.on('error', (error: NodeJS.ErrnoException) => {
    if (!LOST.includes(error.code ?? '')) {
      tell(error.message)
    } else if (!away) {
      away = true
      tell(`Redis does not answer (${error.message}); waiting for it`)
      void waitUntilBack()
    }
  })
}
