/**
 * A pool of worker threads. Starting a thread and loading onnxruntime in it takes about 0.15 s, and every capture
 * needs three threads. Idle threads keep no process alive and hold no model.
 */

import { Worker } from 'node:worker_threads'
import { disableTelemetry } from './telemetry.js'

/** Most idle threads per program. */
const MOST_IDLE = 2

const idle = new Map<string, Worker[]>()

/** A thread that runs `program`: an idle one, or a new one. */
export function takeThread(program: URL): Worker {
  const waiting = idle.get(program.href)?.pop()
  if (waiting) {
    forget(waiting)
    waiting.ref()
    return waiting
  }
  disableTelemetry()
  return new Worker(program, {
    // Command-line flags are meant for the main program. With --input-type, for example, a worker could not run a
    // file.
    execArgv: [],
    // The threads make no long-lived objects. With a small young generation, garbage is collected sooner, and with
    // it the inputs and outputs of runs, which lie outside the heap.
    resourceLimits: { maxYoungGenerationSizeMb: 1 },
  })
}

/** Removes only our listeners, since a Worker needs some of its own. */
function forget(worker: Worker): void {
  for (const event of ['message', 'error', 'exit']) {
    worker.removeAllListeners(event)
  }
}

/** Returns an idle thread to the pool. Ends it if enough threads are idle. */
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
