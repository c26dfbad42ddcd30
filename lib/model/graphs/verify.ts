/** Verifies captures: scores recomputed from queries and keys against the model's own (contract 3). */

import { InferenceSession, type WireTensor } from '../inference/session.js'
import { tensorValues } from '../inference/values.js'
import type { Graph } from '../onnx/graph.js'
import type { ResolvedSite } from '../sites/site.js'
import { fullCaptureGraph } from './capture-graph.js'
import { addCheck, type Precision, type SiteCheck } from './verify-graph.js'

export interface Verification {
  /**
   * ||S - S'||_F / ||S||_F over unmasked entries. For a fused operator, the largest of this and the errors of its own
   * outputs. NaN if a value is not a number, or if every score is masked.
   */
  relativeError: number
  /** Whether the captured queries and keys are finite. */
  finite: boolean
  /**
   * Number of adjacent captured key heads that are equal. More than 1 if heads were repeated by operations that could
   * not be followed.
   */
  keyStride: number
}

/**
 * Runs a batch and checks each site on it, in float32 unless the batch is small enough for more. Errors: ERR_INFERENCE.
 */
export async function verifySites(
  graph: Graph,
  sites: readonly ResolvedSite[],
  feeds: Record<string, WireTensor>,
  threads: number,
  precision: Precision = 'float32',
): Promise<Verification[]> {
  let checks: SiteCheck[] = []
  const capture = fullCaptureGraph(
    graph,
    sites.map((site) => ({ site })),
    (editor, captured) => {
      checks = sites.map((site, i) => addCheck(editor, site, captured[i], precision))
      return false
    },
  )
  const { weightsFolder } = graph.model
  const session = await InferenceSession.open({ bytes: capture.bytes, weightsFolder, threads, once: true })
  try {
    const found = await session.run(
      Object.fromEntries(capture.inputs.map((name) => [name, feeds[name]] as const)),
    )
    return readChecks(checks, found)
  } finally {
    await session.close()
  }
}

/** Interprets the outputs of a run. */
export function readChecks(checks: readonly SiteCheck[], found: Record<string, WireTensor>): Verification[] {
  const value = (name: string) => tensorValues(found[name])[0]
  return checks.map((check) => readCheck(check, value))
}

function readCheck(
  { errors, compared, nonFinite, strides }: SiteCheck,
  value: (name: string) => number,
): Verification {
  const ratios = errors.map(({ difference, total }) => ratio(value(difference), value(total)))
  const repeated = strides.find(({ keys }) => value(keys) === 0)
  // If queries repeat with the keys, the heads are equal because of their weights, not because keys are shared.
  const shared = repeated && !(repeated.queries && value(repeated.queries) === 0)
  return {
    // If nothing was compared, nothing is verified.
    relativeError: value(compared) > 0 ? Math.max(...ratios) : Number.NaN,
    finite: value(nonFinite) === 0,
    keyStride: shared ? repeated.stride : 1,
  }
}

function ratio(difference: number, total: number): number {
  if (total === 0) {
    return difference === 0 ? 0 : Number.POSITIVE_INFINITY
  }
  return Math.sqrt(difference / total)
}
