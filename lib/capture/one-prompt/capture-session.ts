/**
 * A session that captures the requested tensors of a model's sites, by hook, and verifies them in the same run if
 * requested.
 */

import {
  type CaptureGraph,
  fullCaptureGraph,
  scoreMatrix,
  wholeRows,
} from '../../model/graphs/capture-graph.js'
import { withoutOthers } from '../../model/graphs/rows.js'
import { readChecks, type Verification } from '../../model/graphs/verify.js'
import { addCheck, type SiteCheck } from '../../model/graphs/verify-graph.js'
import { InferenceSession, type WireTensor } from '../../model/inference/session.js'
import type { Model } from '../../model/model.js'
import type { ResolvedSite } from '../../model/sites/site.js'
import type { Hooks } from './captured-steps.js'

/** The request for one site. */
export interface CaptureRequest {
  site: ResolvedSite
  heads: number[]
  kvHeads: number[]
  hooks: Hooks
}

/** What is captured besides queries and keys; see `CaptureOptions`. */
export interface CapturedKinds {
  scores?: boolean
  pattern?: boolean
}

/** The outputs of a run. */
export interface CapturedRun {
  /** Captured tensors by hook. */
  tensors: Record<string, WireTensor>
  /** All outputs by name, including the further ones that were requested. */
  outputs: Record<string, WireTensor>
  /** Results by request, in a session that verifies. */
  verified: Verification[]
}

export class CaptureSession {
  private constructor(
    private readonly session: InferenceSession,
    private readonly requests: readonly CaptureRequest[],
    private readonly graph: CaptureGraph,
    private readonly checks: readonly SiteCheck[],
    private readonly kinds: CapturedKinds,
  ) {}

  /** `also` names further outputs of the model. Errors: ERR_INFERENCE. */
  static async open(
    model: Model,
    requests: readonly CaptureRequest[],
    kinds: CapturedKinds,
    { also = [], verify = false }: { also?: readonly string[]; verify?: boolean } = {},
  ): Promise<CaptureSession> {
    let checks: SiteCheck[] = []
    const graph = fullCaptureGraph(model.graph, requests, (editor) => {
      for (const name of also) {
        editor.output(name)
      }
      for (const { site, heads, hooks } of requests) {
        const { fused, softmaxInput, softmax } = site.candidate
        const taken = { count: site.heads, chosen: heads }
        const add = (tensor: string, name: string) => {
          const whole = scoreMatrix(editor, tensor, site.patternAxes!, taken, `${name}/whole`)
          // The attention of sinks lies in none of the keys' columns.
          const keys = withoutOthers(editor, whole, 3, site.sinks)
          editor.output(editor.node('Identity', [keys], {}, name))
        }
        if (kinds.scores) {
          add(softmaxInput, hooks.scores)
        }
        if (kinds.pattern) {
          add(fused?.pattern ?? softmax.output[0], hooks.pattern)
        }
      }
      if (verify) {
        checks = requests.map(({ site }) => addCheck(editor, site, wholeRows(editor, site), 'float32'))
      }
      return true
    })
    const { weightsFolder } = model.graph.model
    const session = await InferenceSession.open({
      bytes: graph.bytes,
      weightsFolder,
      threads: model.threads,
    })
    return new CaptureSession(session, requests, graph, checks, kinds)
  }

  /**
   * Runs the model; `into` is shared memory for outputs, used if it is large enough. Errors: ERR_INFERENCE,
   * ERR_ABORTED.
   */
  async run(
    feeds: Record<string, WireTensor>,
    { signal, into }: { signal?: AbortSignal; into?: Record<string, SharedArrayBuffer> } = {},
  ): Promise<CapturedRun> {
    const used = Object.entries(feeds).filter(([name]) => this.graph.inputs.includes(name))
    const outputs = await this.session.run(Object.fromEntries(used), { signal, into })
    return { tensors: this.byHook(outputs), outputs, verified: readChecks(this.checks, outputs) }
  }

  async close(): Promise<void> {
    await this.session.close()
  }

  private byHook(outputs: Record<string, WireTensor>): Record<string, WireTensor> {
    const { scores, pattern } = this.kinds
    return Object.fromEntries(
      this.requests.flatMap(({ hooks }, i) => [
        [hooks.q, outputs[this.graph.outputs[i].q]] as const,
        [hooks.k, outputs[this.graph.outputs[i].k]] as const,
        ...(scores ? [[hooks.scores, outputs[hooks.scores]] as const] : []),
        ...(pattern ? [[hooks.pattern, outputs[hooks.pattern]] as const] : []),
      ]),
    )
  }
}
