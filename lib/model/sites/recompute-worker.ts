/** The thread in which scores are recomputed, so that the event loop stays free on long prompts. */

import { parentPort } from 'node:worker_threads'
import type { WireTensor } from '../inference/session.js'
import { checkScores, type ScoreCheck, type Verification } from './recompute.js'

export interface RecomputeRequest {
  checks: ScoreCheck[]
  /** Over shared memory: nothing is copied between the threads. */
  tensors: Record<string, WireTensor>
}

export type RecomputeResponse = { verified: Verification[] } | { error: Error }

parentPort!.on('message', ({ checks, tensors }: RecomputeRequest) => {
  let response: RecomputeResponse
  try {
    response = { verified: checks.map((check) => checkScores(check, tensors)) }
  } catch (error) {
    response = { error: error as Error }
  }
  parentPort!.postMessage(response)
})
