/** The runs of a queue: submitting one, looking at it, waiting for it, cancelling it. */

import type { FlowProducer, Job, JobState, Queue } from 'bullmq'
import { QkError } from '../errors.js'
import { checkPlace, lastingConnection, loadBullmq, type Place } from './connection.js'
import { type MergeJob, type RunSpec, reasonsByShard, runId, shardJobId } from './run-spec.js'
import type { Merged } from './run-work.js'
import type { RunProgress } from './worker.js'

/** `capture`: shards are captured; `merge`: they are put together. */
export type RunState = 'capture' | 'merge' | 'done' | 'failed' | 'cancelled'

/** What is known of a run. */
export interface RunStatus {
  run: string
  state: RunState
  shards: number
  /** Shards that are done. */
  done: number
  /** Shards that are computed now. */
  running: number[]
  /** Shards that failed for good, and why. */
  failed: { shard: number; reason: string }[]
  /** Workers that do not take the run, and why. */
  refusals: { worker: string; reason: string }[]
  out: string
  /** Of a run that is done: files that were written, and warnings. */
  saved?: string[]
  warnings?: string[]
  /** Of a run that failed: why, with the list of what lacks. */
  reason?: string
}

/** A job is tried so often; waits double from the first to the last, 1 to 64 seconds. */
const ATTEMPTS = 8
const FIRST_WAIT_MS = 1000
/** Seconds for which what has ended is remembered. */
const KEPT = { age: 14 * 24 * 3600 }
const OPTIONS = {
  attempts: ATTEMPTS,
  backoff: { type: 'exponential', delay: FIRST_WAIT_MS },
  removeOnComplete: KEPT,
  removeOnFail: KEPT,
}

const LOOK_MS = 500
/** Jobs that are removed at a time. */
const AT_A_TIME = 100

export class Runs {
  readonly #bullmq: typeof import('bullmq')
  readonly #queue: Queue
  readonly #flow: FlowProducer

  private constructor(bullmq: typeof import('bullmq'), place: Place) {
    const connection = lastingConnection(place)
    this.#bullmq = bullmq
    this.#queue = new bullmq.Queue(place.queue, { connection })
    this.#flow = new bullmq.FlowProducer({ connection })
    // A connection that is lost is taken up again; commands wait for that.
    this.#queue.on('error', () => {})
    this.#flow.on('error', () => {})
  }

  /** Errors: ERR_NOT_INSTALLED, ERR_ARGUMENT. */
  static async open(place: Place): Promise<Runs> {
    checkPlace(place)
    return new Runs(await loadBullmq(), place)
  }

  async close(): Promise<void> {
    await Promise.all([this.#queue.close(), this.#flow.close()])
  }

  /**
   * Puts a run into the queue: a job a shard, and their merge, which waits for them. The same run is never there twice: one
   * that is under way is joined, one that has ended begins anew, with the shards whose files are there. Gives its name.
   * Errors: ERR_CLUSTER where the run that is under way writes somewhere else.
   */
  async submit(spec: RunSpec, out: string): Promise<string> {
    const run = runId(spec)
    const before = await this.#merge(run)
    if (before) {
      const { out: other, cancelled } = before.data as MergeJob
      const ended = ['completed', 'failed'].includes(await before.getState())
      if (!ended && !cancelled) {
        if (other !== out) {
          throw new QkError('ERR_CLUSTER', `the run ${run} is under way, and writes ${other}`, {
            hint: `Wait for it, or cancel it: qkspace submit cancel ${run}`,
          })
        }
        return run
      }
      await this.#remove(run, spec.shards)
    }
    await this.#flow.add({
      name: 'merge',
      queueName: this.#queue.name,
      data: { spec, out } satisfies MergeJob,
      opts: { ...OPTIONS, jobId: run },
      children: Array.from({ length: spec.shards }, (_, i) => ({
        name: 'shard',
        queueName: this.#queue.name,
        data: { spec, shard: i + 1 },
        // The merge says which shards failed; all others are computed meanwhile.
        opts: { ...OPTIONS, jobId: shardJobId(run, i + 1), ignoreDependencyOnFailure: true },
      })),
    })
    return run
  }

  /** Errors: ERR_CLUSTER where there is no such run. */
  async status(run: string): Promise<RunStatus> {
    const found = await this.#look(run)
    if (!found) {
      throw unknownRun(run, this.#queue.name)
    }
    return found
  }

  /**
   * Waits until a run has ended, however long Redis is away meanwhile. `tell` hears of every change. A run that vanishes was
   * cancelled. Errors: ERR_CLUSTER where there is no such run to begin with.
   */
  async wait(run: string, tell: (status: RunStatus) => void): Promise<RunStatus> {
    let last = await this.status(run)
    tell(last)
    while (last.state === 'capture' || last.state === 'merge') {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
      const now = (await this.#look(run)) ?? { ...last, running: [], state: 'cancelled' as const }
      if (JSON.stringify(now) !== JSON.stringify(last)) {
        tell(now)
      }
      last = now
    }
    return last
  }

  /** Ends a run: what has not begun is removed, what is computed is stopped. Files stay. Errors: ERR_CLUSTER. */
  async cancel(run: string): Promise<void> {
    const merge = await this.#merge(run)
    if (!merge) {
      throw unknownRun(run, this.#queue.name)
    }
    const data = merge.data as MergeJob
    await merge.updateData({ ...data, cancelled: true } satisfies MergeJob)
    await this.#remove(run, data.spec.shards)
  }

  #merge(run: string): Promise<Job | undefined> {
    return this.#bullmq.Job.fromId(this.#queue, run)
  }

  async #look(run: string): Promise<RunStatus | undefined> {
    const merge = await this.#merge(run)
    if (merge?.name !== 'merge') {
      return undefined
    }
    const { spec, out, cancelled } = merge.data as MergeJob
    const [jobState, { processed = 0 }, failures, active] = await Promise.all([
      merge.getState(),
      merge.getDependenciesCount({ processed: true }),
      merge.getIgnoredChildrenFailures(),
      this.#queue.getJobs(['active']),
    ])
    const failed = [...reasonsByShard(failures)]
      .map(([shard, reason]) => ({ shard, reason }))
      .sort((a, b) => a.shard - b.shard)
    const state = cancelled ? 'cancelled' : stateOf(jobState)
    const refused = (merge.progress as Partial<RunProgress> | undefined)?.refused ?? {}
    const merged = merge.returnvalue as Merged | null
    return {
      run,
      state,
      shards: spec.shards,
      done: processed,
      running: active
        .filter((job) => job?.id?.startsWith(`${run}-`))
        .map((job) => Number(job.id!.slice(run.length + 1)))
        .sort((a, b) => a - b),
      failed,
      refusals: Object.entries(refused).map(([worker, reason]) => ({ worker, reason })),
      out,
      ...(state === 'done' && merged && { saved: merged.saved, warnings: merged.warnings }),
      ...(state === 'failed' && { reason: merge.failedReason }),
    }
  }

  /** Removes the jobs of a run; those that a worker has are removed when it has let go of them. */
  async #remove(run: string, shards: number): Promise<void> {
    const ids = [...Array.from({ length: shards }, (_, i) => shardJobId(run, i + 1)), run]
    let left = ids
    while (left.length > 0) {
      const locked: string[] = []
      for (let at = 0; at < left.length; at += AT_A_TIME) {
        await Promise.all(
          left.slice(at, at + AT_A_TIME).map(async (id) => {
            const job = await this.#bullmq.Job.fromId(this.#queue, id)
            // A job that a worker has is locked, and cannot be removed.
            await job?.remove({ removeChildren: false }).catch(() => locked.push(id))
          }),
        )
      }
      left = locked
      if (left.length > 0) {
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
      }
    }
  }
}

function stateOf(state: JobState | 'unknown'): RunState {
  if (state === 'completed') {
    return 'done'
  }
  if (state === 'failed') {
    return 'failed'
  }
  return state === 'waiting-children' ? 'capture' : 'merge'
}

function unknownRun(run: string, queue: string): QkError {
  return new QkError('ERR_CLUSTER', `there is no run ${run} in the queue ${queue}`, {
    hint: 'It was cancelled, or is long over; submit it again, and what is there is not computed again.',
  })
}
