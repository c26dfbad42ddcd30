/**
 * Runs one ONNX session in a thread of its own, because onnxruntime-node's `run` blocks the event loop.
 * The thread ends by itself after a `close` message: terminating it during a run would abort the process.
 */

import { parentPort, workerData } from 'node:worker_threads'
import * as ort from 'onnxruntime-node'

export interface WireTensor {
  type: string
  dims: readonly number[]
  data: ArrayBufferView
}

export interface SessionSpec {
  bytes: Uint8Array
  weightsFolder: string
  threads: number
}

export type Request =
  | { kind: 'run'; id: number; feeds: Record<string, WireTensor>; fetches?: string[] }
  | { kind: 'close' }

export type Response =
  | { kind: 'ready' }
  | { kind: 'failed'; message: string }
  | { kind: 'result'; id: number; outputs: Record<string, WireTensor> }
  | { kind: 'error'; id: number; message: string }

const port = parentPort!
const spec = workerData as SessionSpec

/** Results cross to the main thread in shared memory, which the native backend reads in place. */
function share(tensor: ort.Tensor): WireTensor {
  const source = tensor.data as ArrayBufferView & { length: number }
  const bytes = new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
  const shared = new SharedArrayBuffer(bytes.length)
  new Uint8Array(shared).set(bytes)
  // Newer Node versions give float16 as Float16Array; its bits are what travels.
  const View =
    tensor.type === 'float16'
      ? Uint16Array
      : (source.constructor as new (
          buffer: SharedArrayBuffer,
        ) => ArrayBufferView)
  return { type: tensor.type, dims: tensor.dims, data: new View(shared) }
}

function toTensor({ type, data, dims }: WireTensor): ort.Tensor {
  return new ort.Tensor(type as 'float32', data as Float32Array, dims)
}

async function main() {
  const session = await ort.InferenceSession.create(spec.bytes, {
    extra: { session: { model_external_initializers_file_folder_path: spec.weightsFolder } },
    logSeverityLevel: 4,
    intraOpNumThreads: spec.threads,
  })
  port.on('message', async (request: Request) => {
    if (request.kind === 'close') {
      await session.release()
      port.close()
      return
    }
    try {
      const feeds = Object.fromEntries(
        Object.entries(request.feeds).map(([name, t]) => [name, toTensor(t)] as const),
      )
      const results = await (request.fetches ? session.run(feeds, request.fetches) : session.run(feeds))
      const outputs = Object.fromEntries(
        Object.entries(results).map(([name, tensor]) => [name, share(tensor as ort.Tensor)] as const),
      )
      port.postMessage({ kind: 'result', id: request.id, outputs } satisfies Response)
    } catch (error) {
      port.postMessage({
        kind: 'error',
        id: request.id,
        message: (error as Error).message,
      } satisfies Response)
    }
  })
  port.postMessage({ kind: 'ready' } satisfies Response)
}

main().catch((error: Error) => {
  port.postMessage({ kind: 'failed', message: error.message } satisfies Response)
  port.close()
})
