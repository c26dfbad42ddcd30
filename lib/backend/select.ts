/** Lists the backends, chooses one, and explains every rejection. */

import { availableParallelism } from 'node:os'
import { QkError } from '../errors.js'
import { shownValue } from '../validate.js'
import { cudaLibrary } from './addon/cuda-library.js'
import { fixForAddon, loadAddon } from './addon/load.js'
import type { Backend, BackendDescription, BackendName, DeviceDescription, NamedBackend } from './backend.js'
import { deviceBytes, gpuPays, type Hardware, type Work } from './cost/cost.js'
import { JsBackend } from './js.js'
import { NativeBackend } from './native.js'
import { SeveralDevices } from './several/several-devices.js'

/**
 * `cuda:1` and `cuda:GPU-...` name a device by index or UUID, `cuda` the first; `cuda:0,1` names several, which divide
 * the heads among them.
 */
export type BackendChoice = 'auto' | NamedBackend

/** Whether a backend can be used here, as reported by `backends`. */
export interface BackendReport {
  /** The backend's name. */
  name: BackendName
  /** Whether the backend was loaded and can compute. */
  available: boolean
  /** Why it is not available, and what to do about it. */
  reason: string | undefined
  /** How to make it available, if that is possible. */
  hint?: string
  /** What it runs on; undefined where it is not available. */
  description: BackendDescription | undefined
}

const opened = new Map<string, Backend>()

function open(choice: NamedBackend): Backend {
  const known = opened.get(choice)
  if (known) {
    return known
  }
  const backend = make(choice)
  opened.set(choice, backend)
  return backend
}

function make(choice: NamedBackend): Backend {
  if (choice === 'js') {
    return new JsBackend()
  }
  if (choice === 'cpu') {
    return new NativeBackend('cpu', loadAddon(), { instructionSet: process.env.QKSPACE_ISA })
  }
  const devices = devicesOf(choice)
  if (devices.length > 1) {
    const each = devices.map((device) => open(`cuda:${device}`) as NativeBackend)
    return new SeveralDevices(choice, loadAddon(), each)
  }
  return new NativeBackend('cuda', loadAddon(), {
    library: cudaLibrary(),
    device: devices[0],
    deviceMemory: deviceMemory(process.env.QKSPACE_CUDA_MEMORY),
  })
}

/** The devices that a choice names, by index or UUID. Errors: ERR_BACKEND if one is empty or named twice. */
function devicesOf(choice: NamedBackend): string[] {
  const devices = choice.slice('cuda:'.length).split(',')
  if (devices.length > 1 && devices.includes('')) {
    throw new QkError('ERR_BACKEND', `'${choice}' has a comma without a device on both sides`, {
      hint: SEVERAL,
    })
  }
  const twice = devices.find((device, i) => devices.indexOf(device) < i)
  if (twice !== undefined) {
    throw new QkError('ERR_BACKEND', `'${choice}' names the device ${twice} twice`, { hint: SEVERAL })
  }
  return devices
}

const SEVERAL = "Name each device once, by index or UUID, as in 'cuda:0,1'."

function deviceMemory(text: string | undefined): number {
  if (!text) {
    return 0
  }
  const bytes = Number(text)
  if (!(Number.isSafeInteger(bytes) && bytes > 0)) {
    throw new QkError('ERR_ARGUMENT', `QKSPACE_CUDA_MEMORY is '${text}', expected a number of bytes`)
  }
  return bytes
}

function explain(name: BackendName): BackendReport {
  try {
    return { name, available: true, reason: undefined, description: open(name).describe() }
  } catch (error) {
    const { message, hint } = error as QkError
    return { name, available: false, reason: message, ...(hint && { hint }), description: undefined }
  }
}

/** All backends of the package, best first, each with the reason if it cannot be used. */
export function backends(): BackendReport[] {
  return (['cpu', 'js', 'cuda'] as const).map(explain)
}

/**
 * Refuses what can be the name of no backend, nor of devices of one. What is named may still be unavailable.
 * Errors: ERR_BACKEND.
 */
export function checkBackendChoice(name: string): BackendChoice {
  if (['auto', 'js', 'cpu', 'cuda'].includes(name)) {
    return name as BackendChoice
  }
  if (typeof name !== 'string' || !/^cuda:./.test(name)) {
    throw new QkError('ERR_BACKEND', `no backend is called '${shownValue(name)}'`, {
      hint: "use 'auto', 'cpu', 'cuda' or 'js'",
    })
  }
  devicesOf(name as NamedBackend)
  return name as NamedBackend
}

/** All GPUs that the CUDA backend can use, in the order of their indices; none where it is not available. */
export function cudaDevices(): DeviceDescription[] {
  const found: DeviceDescription[] = []
  try {
    for (let i = 0; ; i++) {
      found.push(open(i === 0 ? 'cuda' : `cuda:${i}`).describe().device!)
    }
  } catch {
    // There is no device of this index, or it cannot be used: `backends()` says why of the first.
    return found
  }
}

/**
 * The backend of that name. 'auto' takes cpu, or a GPU where `work` is known and the model of cost (`cost/`) says that it
 * pays; a GPU that cannot be used is passed over. Callers ask once an operation and keep the answer. Results of the two
 * differ in their last bits; naming the backend fixes them.
 *
 * If cpu cannot be used, 'auto' takes js. `backends()` says why, and one line on standard error reports it once.
 *
 * In the environment, QKSPACE_BACKEND overrides 'auto'. QKSPACE_ISA forces the instruction set of cpu, and 'auto'
 * then takes nothing else. QKSPACE_CUDA_MEMORY limits the bytes of GPU memory. `threads` limits those of cpu, 0 = all.
 */
export function selectBackend(
  choice: BackendChoice = 'auto',
  work: readonly Work[] = [],
  threads = 0,
): Backend {
  const name = choice === 'auto' ? process.env.QKSPACE_BACKEND || 'auto' : choice
  const checked = checkBackendChoice(name)
  if (checked !== 'auto') {
    return open(checked)
  }
  const isaForced = Boolean(process.env.QKSPACE_ISA)
  const gpu = isaForced ? undefined : gpuFor(work, threads)
  if (gpu) {
    return gpu
  }
  try {
    return open('cpu')
  } catch (error) {
    if (isaForced) {
      throw error
    }
    tellOfJs(error as QkError)
    return open('js')
  }
}

/** What 'auto' reckons with on this machine. Errors: ERR_ARGUMENT for a start that is no number of seconds. */
export function autoHardware(threads = 0): Hardware {
  const all = availableParallelism()
  const cores = threads > 0 ? Math.min(threads, all) : all
  const text = process.env.QKSPACE_GPU_START
  if (!text) {
    return { cores }
  }
  const gpuStart = Number(text)
  if (!(gpuStart >= 0 && Number.isFinite(gpuStart))) {
    throw new QkError('ERR_ARGUMENT', `QKSPACE_GPU_START is '${text}', expected a number of seconds`)
  }
  return { cores, gpuStart }
}

/** The GPU that 'auto' takes, if it pays and can be used. */
function gpuFor(work: readonly Work[], threads: number): Backend | undefined {
  if (work.length === 0 || !gpuPays(work, autoHardware(threads))) {
    return undefined
  }
  const gpu = firstGpu()
  const limit = gpu?.describe().device?.memoryLimit ?? 0
  return deviceBytes(work) <= limit / 2 ? gpu : undefined
}

let usable: Backend | false | undefined

/** Tried once a process: what cannot be used stays so. */
function firstGpu(): Backend | undefined {
  try {
    usable ??= open('cuda')
  } catch {
    // `backends()` says why.
    usable = false
  }
  return usable || undefined
}

/** Measured with 200,000 pairs at d = 128: docs/benchmarks.md. */
const TIMES_AS_LONG = 100
let told = false

/** Tells users who did not choose a backend, in one line, that they got the slow one. */
function tellOfJs({ code }: QkError): void {
  if (told) {
    return
  }
  told = true
  const fix = code === 'ERR_ADDON_LOAD' ? fixForAddon() : "'qkspace doctor' says why"
  process.stderr.write(
    `qkspace: JavaScript computes, some ${TIMES_AS_LONG} times as long as the native addon, which is not available. ${fix}; QKSPACE_BACKEND=js silences this line.\n`,
  )
}
