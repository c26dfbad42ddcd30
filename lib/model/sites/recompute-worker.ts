/** The thread in which scores are recomputed, so that the event loop stays free on long prompts. */

import { parentPort, workerData } from 'node:worker_threads'
import type { WireTensor } from '../inference/session.js'
import { checkScores, type ScoreCheck } from './recompute.js'

export interface RecomputeData {
  checks: ScoreCheck[]
  /** Over shared memory: nothing is copied between the threads. */
  tensors: Record<string, WireTensor>
}

const { checks, tensors } = workerData as RecomputeData
parentPort!.postMessage(checks.map((check) => checkScores(check, tensors)))
