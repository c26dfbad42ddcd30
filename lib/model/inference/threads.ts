/**
 * Worker threads that wait to be used again. Starting one and loading onnxruntime in it takes about 0.15 s,
 * and every capture needs three; threads that wait keep no process alive and hold no model.
 */

import { Worker } from 'node:worker_threads'
import { disableTelemetry } from './telemetry.js'

/** Threads of one program that wait, at most. */
const MOST_IDLE = 2

const idle = new Map<string, Worker[]>()

/** A thread that runs `program`: one that waits, or a new one. */
export function takeThread(program: URL): Worker {
  const waiting = idle.get(program.href)?.pop()
  if (waiting) {
    forget(waiting)
    waiting.ref()
    return waiting
  }
  disableTelemetry()
  return new Worker(program, {
    // Flags of the command line are the program's: with --input-type, for one, no file can be run.
    execArgv: [],
    // The threads make no objects worth keeping. The smaller their nursery, the sooner what hangs on its
    // garbage is freed: inputs and outputs of runs, outside the heap.
    resourceLimits: { maxYoungGenerationSizeMb: 1 },
  })
}

/** Removes our listeners; a Worker has some of its own that it cannot do without. */
function forget(worker: Worker): void {
  for (const event of ['message', 'error', 'exit']) {
    worker.removeAllListeners(event)
  }
}

/** Takes a thread back that has nothing left to do. Ends it when enough of them wait. */
export function returnThread(program: URL, worker: Worker): void {
  forget(worker)
  const list = idle.get(program.href) ?? []
  idle.set(program.href, list)
  if (list.length >= MOST_IDLE) {
    void worker.terminate()
    return
  }
  worker.on('error', () => {})
  worker.on('exit', () => list.splice(list.indexOf(worker), 1))
  worker.unref()
  list.push(worker)
}
