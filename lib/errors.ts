/** Every error that qkspace raises on purpose: a stable code, what was wrong, and what to do. */

/** Stable strings; scripts may switch on them. */
export type QkErrorCode =
  | 'ERR_ARGUMENT'
  | 'ERR_TYPE'
  | 'ERR_SHAPE'
  | 'ERR_RANGE'
  | 'ERR_EMPTY_SET'
  | 'ERR_FEW_UNITS'
  | 'ERR_NON_FINITE'
  | 'ERR_ABORTED'
  | 'ERR_OUT_OF_MEMORY'
  | 'ERR_MEMORY_LIMIT'
  | 'ERR_NO_CONVERGENCE'
  | 'ERR_BACKEND'
  | 'ERR_ADDON_LOAD'
  | 'ERR_BUILD'
  | 'ERR_NOT_BUILT_YET'
  | 'ERR_NOT_INSTALLED'
  | 'ERR_CLUSTER'
  | 'ERR_FILE'
  | 'ERR_FORMAT'
  | 'ERR_CHECKPOINT'
  | 'ERR_PARTS'
  | 'ERR_HUB'
  | 'ERR_NETWORK'
  | 'ERR_CHECKSUM'
  | 'ERR_NOT_ONNX'
  | 'ERR_NO_ATTENTION'
  | 'ERR_UNSUPPORTED_MODEL'
  | 'ERR_UNKNOWN_HEAD'
  | 'ERR_UNKNOWN_CONTRAST'
  | 'ERR_CAPTURE_MISMATCH'
  | 'ERR_INFERENCE'
  | 'ERR_TOKENIZER'
  | 'ERR_TEMPLATE'
  | 'ERR_PROMPT'
  | 'ERR_POSITION'
  | 'ERR_MATCH'
  | 'ERR_USAGE'
  | 'ERR_INTERNAL'

/** What an error carries besides its code and message. */
export interface QkErrorOptions {
  /** What the reader can do about it, as one sentence. */
  hint?: string
  /** The error that led to this one. */
  cause?: unknown
}

/** Every error that qkspace raises on purpose. Its message says what was wrong and where. */
export class QkError extends Error {
  /** Tells it apart from other errors where `instanceof` cannot, as between realms. */
  override readonly name = 'QkError'
  /** What kind of error it is; scripts may switch on it. */
  readonly code: QkErrorCode
  /** What the reader can do about it, as one sentence; undefined where nothing is known to help. */
  readonly hint: string | undefined

  /** `message` says what was wrong, where, and what was expected. */
  constructor(code: QkErrorCode, message: string, options: QkErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hint = options.hint
  }
}

/** The error that an aborted operation rejects with; the signal's reason is its cause. */
export function abortedError(signal?: AbortSignal): QkError {
  return new QkError('ERR_ABORTED', 'the operation was aborted', { cause: signal?.reason })
}

export function throwIfAborted(signal?: AbortSignal): void {
  if (signal?.aborted) {
    throw abortedError(signal)
  }
}

/** The calls that a signal ends. */
interface Listeners {
  calls: Set<() => void>
  /** The one listener that the signal has of ours, however many calls share it: Node warns of more than ten. */
  tell: () => void
}

const listening = new WeakMap<AbortSignal, Listeners>()

/** Calls `end` when the signal aborts, unless the function that is returned was called before. */
export function onAbort(signal: AbortSignal | undefined, end: () => void): () => void {
  if (!signal) {
    return () => {}
  }
  const own = listening.get(signal) ?? newListeners(signal)
  // Of its own, so that one function may wait several times.
  const call = () => end()
  if (own.calls.size === 0) {
    signal.addEventListener('abort', own.tell)
  }
  own.calls.add(call)
  return () => {
    if (own.calls.delete(call) && own.calls.size === 0) {
      signal.removeEventListener('abort', own.tell)
    }
  }
}

function newListeners(signal: AbortSignal): Listeners {
  const calls = new Set<() => void>()
  const made: Listeners = {
    calls,
    tell: () => {
      for (const call of [...calls]) {
        call()
      }
    },
  }
  listening.set(signal, made)
  return made
}
