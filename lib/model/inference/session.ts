/** A handle on an ONNX session that runs in a worker thread. */

import type { Worker } from 'node:worker_threads'
import { abortedError, onAbort, QkError, throwIfAborted } from '../../errors.js'
import type { Request, Response, RunOptions, SessionSpec, WireTensor } from './session-worker.js'
import { returnThread, takeThread } from './threads.js'

export type { WireTensor } from './session-worker.js'

interface Pending {
  resolve: (outputs: Record<string, WireTensor>) => void
  reject: (error: Error) => void
}

const PROGRAM = new URL('./session-worker.js', import.meta.url)

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
      if (response.kind === 'result') {
        pending?.resolve(response.outputs)
      } else {
        pending?.reject(new QkError('ERR_INFERENCE', `onnxruntime failed: ${response.message}`))
      }
    })
    worker.on('error', (error) =>
      this.end(
        new QkError('ERR_INFERENCE', `the inference thread failed: ${error.message}`, { cause: error }),
      ),
    )
    worker.on('exit', () => this.end(new QkError('ERR_INFERENCE', 'the inference thread ended')))
  }

  /** Loads the model in a thread. Errors: ERR_INFERENCE with onnxruntime's own message. */
  static async open(spec: SessionSpec): Promise<InferenceSession> {
    const session = new InferenceSession(takeThread(PROGRAM))
    const response = await session.ask({ kind: 'open', spec })
    if (response.kind === 'failed') {
      await session.close()
      throw new QkError('ERR_INFERENCE', `onnxruntime could not load the model: ${response.message}`)
    }
    return session
  }

  /** Sends a request whose answer is a message of the same kind. */
  private async ask(request: Request): Promise<Response> {
    const { worker } = this
    return new Promise((resolve) => {
      this.begin = resolve
      worker.once('error', (error) => resolve({ kind: 'failed', message: error.message }))
      worker.once('exit', () => resolve({ kind: 'failed', message: 'its thread ended' }))
      worker.postMessage(request)
    })
  }

  /**
   * Runs the model. On abort the promise rejects at once, but the run continues to its end, since onnxruntime-node
   * cannot be interrupted.
   */
  async run(
    feeds: Record<string, WireTensor>,
    options: RunOptions & { signal?: AbortSignal } = {},
  ): Promise<Record<string, WireTensor>> {
    const { signal, ...rest } = options
    throwIfAborted(signal)
    if (this.ended) {
      throw this.ended
    }
    const id = this.nextId++
    return new Promise((resolve, reject) => {
      const release = onAbort(signal, () => reject(abortedError(signal)))
      const done =
        <T>(settle: (value: T) => void) =>
        (value: T) => {
          release()
          settle(value)
        }
      this.pending.set(id, { resolve: done(resolve), reject: done(reject) })
      this.worker.postMessage({ kind: 'run', id, feeds, ...rest } satisfies Request)
    })
  }

  /** Waits for the running batch, frees the model and returns the thread to the pool. */
  async close(): Promise<void> {
    if (this.ended) {
      return
    }
    this.ended = new QkError('ERR_INFERENCE', 'the session is closed')
    const { kind } = await this.ask({ kind: 'close' })
    if (kind === 'closed') {
      returnThread(PROGRAM, this.worker)
    }
  }

  private end(error: QkError): void {
    this.ended ??= error
    for (const { reject } of this.pending.values()) {
      reject(error)
    }
    this.pending.clear()
  }
}
