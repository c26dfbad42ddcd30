/**
 * Runs ONNX sessions in a thread of their own, one after another, because onnxruntime-node's `run` blocks the event
 * loop. Messages are handled in order, so a session is never closed while it runs. Terminating the thread during a run
 * would abort the process.
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
  /**
   * Loads the graph without optimisation. Optimising a graph of many nodes takes longer than running it once, so a
   * session for a single batch skips it.
   */
  once?: boolean
}

export interface RunOptions {
  /** The requested outputs; all by default. */
  fetches?: string[]
  /** Shapes of outputs, if they are known in advance. onnxruntime then writes the outputs to memory of ours. */
  shapes?: Record<string, readonly number[]>
  /** Shared memory for outputs, used if it is large enough. */
  into?: Record<string, SharedArrayBuffer>
}

export type Request =
  | { kind: 'open'; spec: SessionSpec }
  | ({ kind: 'run'; id: number; feeds: Record<string, WireTensor> } & RunOptions)
  | { kind: 'close' }

export type Response =
  | { kind: 'ready' }
  | { kind: 'failed'; message: string }
  | { kind: 'closed' }
  | { kind: 'result'; id: number; outputs: Record<string, WireTensor> }
  | { kind: 'error'; id: number; message: string }

const port = parentPort!
let session: ort.InferenceSession | undefined

/**
 * Memory of float outputs, by name, reused for every run of a session. Memory that onnxruntime allocates for an output
 * is freed only by garbage collection, which is rare in a thread with so little garbage.
 */
const reused = new Map<string, ArrayBuffer>()

/** Passes results to the main thread in shared memory, which the native backend reads in place. */
function share(tensor: ort.Tensor, into: SharedArrayBuffer | undefined): WireTensor {
  const source = tensor.data as ArrayBufferView & { length: number }
  const bytes = new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
  const shared = into && into.byteLength >= bytes.length ? into : new SharedArrayBuffer(bytes.length)
  new Uint8Array(shared).set(bytes)
  // Newer Node versions give float16 as Float16Array; only its bits are passed on.
  const View =
    tensor.type === 'float16'
      ? Uint16Array
      : (source.constructor as new (
          buffer: SharedArrayBuffer,
          offset: number,
          length: number,
        ) => ArrayBufferView)
  return { type: tensor.type, dims: tensor.dims, data: new View(shared, 0, source.length) }
}

/** An output of known shape over reused memory. Null if onnxruntime must allocate it. */
function prepared(name: string, dims: readonly number[] | undefined): ort.Tensor | null {
  const buffer = reused.get(name)
  const size = dims?.reduce((a, b) => a * b, 1)
  if (!buffer || !dims || !size) {
    return null
  }
  if (size * 4 <= buffer.byteLength) {
    return new ort.Tensor('float32', new Float32Array(buffer, 0, size), dims)
  }
  const larger = new ArrayBuffer(size * 5)
  reused.set(name, larger)
  return new ort.Tensor('float32', new Float32Array(larger, 0, size), dims)
}

/** onnxruntime-node does not accept shared memory, in which the outputs of an earlier run may lie. */
function toTensor({ type, data, dims }: WireTensor): ort.Tensor {
  const values = data as Float32Array
  const own = values.buffer instanceof SharedArrayBuffer ? values.slice() : values
  return new ort.Tensor(type as 'float32', own, dims)
}

async function open(spec: SessionSpec): Promise<Response> {
  try {
    session = await ort.InferenceSession.create(spec.bytes, {
      extra: { session: { model_external_initializers_file_folder_path: spec.weightsFolder } },
      logSeverityLevel: 4,
      intraOpNumThreads: spec.threads,
      graphOptimizationLevel: spec.once ? 'disabled' : 'all',
    })
    return { kind: 'ready' }
  } catch (error) {
    return { kind: 'failed', message: (error as Error).message }
  }
}

async function run({ id, feeds, fetches, shapes, into }: Request & { kind: 'run' }): Promise<Response> {
  try {
    const tensors = Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, toTensor(t)] as const))
    const wanted = Object.fromEntries(
      (fetches ?? session!.outputNames).map((name) => [name, prepared(name, shapes?.[name])] as const),
    )
    const results = await session!.run(tensors, wanted)
    const outputs = Object.fromEntries(
      Object.entries(results).map(([name, tensor]) => [name, share(tensor, into?.[name])] as const),
    )
    // The element types are known only after the first run.
    for (const [name, { type }] of Object.entries(results)) {
      if (shapes?.[name] && type === 'float32' && !reused.has(name)) {
        reused.set(name, new ArrayBuffer(0))
      }
    }
    return { kind: 'result', id, outputs }
  } catch (error) {
    return { kind: 'error', id, message: (error as Error).message }
  }
}

async function close(): Promise<Response> {
  await session?.release()
  session = undefined
  reused.clear()
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
