/**
 * Runs ONNX sessions in a thread of their own, one after another, because onnxruntime-node's `run` blocks the
 * event loop. Messages are worked off in turn, so a session that was closed is not running any more:
 * terminating the thread during a run would abort the process.
 */

import { parentPort } from 'node:worker_threads'
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
  | { kind: 'open'; spec: SessionSpec }
  | { kind: 'run'; id: number; feeds: Record<string, WireTensor>; fetches?: string[] }
  | { kind: 'close' }

export type Response =
  | { kind: 'ready' }
  | { kind: 'failed'; message: string }
  | { kind: 'closed' }
  | { kind: 'result'; id: number; outputs: Record<string, WireTensor> }
  | { kind: 'error'; id: number; message: string }

const port = parentPort!
let session: ort.InferenceSession | undefined

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

async function open(spec: SessionSpec): Promise<Response> {
  try {
    session = await ort.InferenceSession.create(spec.bytes, {
      extra: { session: { model_external_initializers_file_folder_path: spec.weightsFolder } },
      logSeverityLevel: 4,
      intraOpNumThreads: spec.threads,
    })
    return { kind: 'ready' }
  } catch (error) {
    return { kind: 'failed', message: (error as Error).message }
  }
}

async function run({ id, feeds, fetches }: Request & { kind: 'run' }): Promise<Response> {
  try {
    const tensors = Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, toTensor(t)] as const))
    const results = await (fetches ? session!.run(tensors, fetches) : session!.run(tensors))
    const outputs = Object.fromEntries(
      Object.entries(results).map(([name, tensor]) => [name, share(tensor as ort.Tensor)] as const),
    )
    return { kind: 'result', id, outputs }
  } catch (error) {
    return { kind: 'error', id, message: (error as Error).message }
  }
}

async function close(): Promise<Response> {
  await session?.release()
  session = undefined
  return { kind: 'closed' }
}

let before: Promise<void> = Promise.resolve()
port.on('message', (request: Request) => {
  before = before.then(async () => {
    port.postMessage(
      await (request.kind === 'open' ? open(request.spec) : request.kind === 'run' ? run(request) : close()),
    )
  })
})
