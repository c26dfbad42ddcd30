/** What a worker says to its child processes, which BullMQ starts with a name of a file and nothing else. */

const VARIABLE = 'QKSPACE_CLUSTER_WORKER'

export interface ChildSettings {
  /** Whole path of `models.json`. */
  models: string
  /** Threads of a job; all cores by default. */
  threads?: number
}

/** The environment of a child process. */
export function childEnvironment(settings: ChildSettings): NodeJS.ProcessEnv {
  // onnxruntime reads the second one when it is loaded, whoever loads it.
  return { ...process.env, [VARIABLE]: JSON.stringify(settings), ORT_DISABLE_TELEMETRY: '1' }
}

/** In a child process: what the worker said. */
export function readSettings(): ChildSettings {
  return JSON.parse(process.env[VARIABLE]!) as ChildSettings
}

/** Why a worker puts a job back, as the progress of the job. */
export interface Refusal {
  refused: string
}

/** The reason of a signal that ends a worker, and not the run. */
export const STOPPED = 'stopped'
