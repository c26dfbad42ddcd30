/** A handle on an ONNX session that runs in a worker thread. */

import { Worker } from 'node:worker_threads'
import { abortedError, QkError, throwIfAborted } from '../../errors.js'
import type { Request, Response, SessionSpec, WireTensor } from './session-worker.js'

export type { WireTensor } from './session-worker.js'

interface Pending {
  resolve: (outputs: Record<string, WireTensor>) => void
  reject: (error: Error) => void
}

export class InferenceSession {
  private readonly pending = new Map<number, Pending>()
  private nextId = 0
  private ended: QkError | undefined

  private begin: (response: Response) => void = () => {}

  private constructor(private readonly worker: Worker) {
    worker.on('message', (response: Response) => {
      if (response.kind !== 'result' && response.kind !== 'error') {
        this.begin(response)
        return
      }
      const pending = this.pending.get(response.id)
      this.pending.delete(response.id)
      if (response.kind === 'result') pending?.resolve(response.outputs)
      else pending?.reject(new QkError('ERR_INFERENCE', `onnxruntime failed: ${response.message}`))
    })
    worker.on('error', (error) =>
      this.end(
        new QkError('ERR_INFERENCE', `the inference thread failed: ${error.message}`, { cause: error }),
      ),
    )
    worker.on('exit', () => this.end(new QkError('ERR_INFERENCE', 'the inference thread ended')))
  }

  /** Starts a thread and loads the model in it. Errors: ERR_INFERENCE with onnxruntime's own message. */
  static async open(spec: SessionSpec): Promise<InferenceSession> {
    const worker = new Worker(new URL('./session-worker.js', import.meta.url), {
      workerData: spec,
      // The thread makes no objects worth keeping; a small nursery keeps resident memory level.
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    })
    const session = new InferenceSession(worker)
    const response = await new Promise<Response>((resolve) => {
      const failed = (message: string) => resolve({ kind: 'failed', message })
      session.begin = resolve
      worker.on('error', (error) => failed(error.message))
      worker.on('exit', () => failed('its thread ended'))
    })
    if (response.kind === 'failed') {
      throw new QkError('ERR_INFERENCE', `onnxruntime could not load the model: ${response.message}`)
    }
    return session
  }

  /**
   * Runs the model. On abort the promise rejects at once, while the run itself ends in its own time:
   * onnxruntime-node cannot be interrupted.
   */
  async run(
    feeds: Record<string, WireTensor>,
    options: { fetches?: string[]; signal?: AbortSignal } = {},
  ): Promise<Record<string, WireTensor>> {
    const { signal, fetches } = options
    throwIfAborted(signal)
    if (this.ended) throw this.ended
    const id = this.nextId++
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(abortedError(signal))
      signal?.addEventListener('abort', onAbort, { once: true })
      const done =
        <T>(settle: (value: T) => void) =>
        (value: T) => {
          signal?.removeEventListener('abort', onAbort)
          settle(value)
        }
      this.pending.set(id, { resolve: done(resolve), reject: done(reject) })
      this.worker.postMessage({ kind: 'run', id, feeds, fetches } satisfies Request)
    })
  }

  /** Lets the running batch end, then ends the thread. */
  async close(): Promise<void> {
    if (this.ended) return
    this.ended = new QkError('ERR_INFERENCE', 'the session is closed')
    const exited = new Promise<void>((resolve) => this.worker.once('exit', () => resolve()))
    this.worker.postMessage({ kind: 'close' } satisfies Request)
    await exited
  }

  private end(error: QkError): void {
    this.ended ??= error
    for (const { reject } of this.pending.values()) reject(error)
    this.pending.clear()
  }
}
