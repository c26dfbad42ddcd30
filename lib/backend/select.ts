/** Knows the backends, chooses one, and explains every rejection. */

import { QkError } from '../errors.js'
import type { Backend, BackendDescription, BackendName } from './backend.js'
import { JsBackend } from './js.js'
import { loadAddon } from './load.js'
import { NativeBackend } from './native.js'

export type BackendChoice = 'auto' | BackendName

export interface BackendReport {
  name: BackendName
  available: boolean
  /** Why it is not available. */
  reason: string | undefined
  description: BackendDescription | undefined
}

const opened = new Map<BackendName, Backend>()

function open(name: BackendName): Backend {
  const known = opened.get(name)
  if (known) return known
  if (name === 'cuda')
    throw new QkError('ERR_NOT_BUILT_YET', "the backend 'cuda' is not part of this version", {
      hint: "use 'cpu', or 'auto'",
    })
  const backend =
    name === 'js'
      ? new JsBackend()
      : new NativeBackend(loadAddon(), { instructionSet: process.env.QKSPACE_ISA })
  opened.set(name, backend)
  return backend
}

function explain(name: BackendName): BackendReport {
  try {
    return { name, available: true, reason: undefined, description: open(name).describe() }
  } catch (error) {
    return { name, available: false, reason: (error as Error).message, description: undefined }
  }
}

/** Every backend that the package knows, best first, with the reason where one cannot be used. */
export function backends(): BackendReport[] {
  return (['cpu', 'js', 'cuda'] as const).map(explain)
}

/**
 * The backend of that name; 'auto' takes cpu, and js where cpu cannot be used (`backends()` says why).
 * QKSPACE_BACKEND in the environment overrides 'auto'; QKSPACE_ISA forces cpu's instruction set, in which
 * case 'auto' does not fall back.
 */
export function selectBackend(choice: BackendChoice = 'auto'): Backend {
  const name = choice === 'auto' ? process.env.QKSPACE_BACKEND || 'auto' : choice
  if (name === 'cpu' || name === 'js' || name === 'cuda') return open(name)
  if (name !== 'auto')
    throw new QkError('ERR_BACKEND', `no backend is called '${name}'`, { hint: "use 'auto', 'cpu' or 'js'" })
  try {
    return open('cpu')
  } catch (error) {
    if (process.env.QKSPACE_ISA) throw error
    return open('js')
  }
}
