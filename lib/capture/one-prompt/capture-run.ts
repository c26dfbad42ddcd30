/** Runs one prompt, with generated tokens if requested, and collects the captured tensors. */

import { QkError, throwIfAborted } from '../../errors.js'
import { type Verification, verifySites } from '../../model/graphs/verify.js'
import { cacheOutputs, stepFeeds, tokenFeeds } from '../../model/inference/inputs.js'
import type { WireTensor } from '../../model/inference/session.js'
import { tensorValues } from '../../model/inference/values.js'
import { describeSite, type Model } from '../../model/model.js'
import { type AttentionSite, headName } from '../../model/sites/site.js'
import type { TokenRun } from '../encode.js'
import { runSize, verifiedTokens } from '../run-size.js'
import { acceptedError } from '../verify-capture.js'
import {
  type CapturedKinds,
  type CapturedRun,
  type CaptureRequest,
  CaptureSession,
} from './capture-session.js'
import { CapturedSteps, type CapturedTensor, type Hooks } from './captured-steps.js'

/** Names of the captured tensors of one site. */
export interface CapturedSite {
  /** The attention site that was captured. */
  site: AttentionSite
  /** Names of the query heads, in the order of the head axis. */
  heads: string[]
  /** The key heads, in the order of the head axis of the keys. */
  kvHeads: number[]
  /** Relative error of the verification on this prompt: recomputed scores against the model's own. */
  relativeError: number
  /** Keys into `activations`. */
  hooks: Hooks
}

/** Queries, keys and, if requested, scores and patterns of one prompt. */
export interface Capture {
  /** Token ids, including generated ones. Absent if the model takes tensors. */
  tokens?: number[]
  /** Number of generated tokens. */
  newTokens: number
  /** The captured sites, in the order of the model. */
  sites: CapturedSite[]
  /**
   * By hook name: `blocks.0.attn.hook_rot_q` [batch, pos, head, d], `hook_rot_k` [batch, pos, kvHead, d],
   * `hook_attn_scores` and `hook_pattern` [batch, head, query, key].
   */
  activations: Record<string, CapturedTensor>
}

/** Settings of a capture; see `CaptureOptions`. */
export interface CaptureSettings extends CapturedKinds {
  newTokens?: number
  output?: string
  signal?: AbortSignal
}

/** One call of `capture`, with its session. */
export class CaptureRun {
  private session: CaptureSession | undefined
  private readonly caches: Map<string, string> | undefined
  private readonly logits: string | undefined

  constructor(
    private readonly model: Model,
    private readonly requests: readonly CaptureRequest[],
    private readonly options: CaptureSettings,
  ) {
    const outputs = model.graph.model.proto.graph!.output.map(({ name }) => name)
    this.caches = options.newTokens ? cacheOutputs(model.inputs, outputs) : undefined
    this.logits = options.newTokens ? logitsOf(outputs, options.output) : undefined
  }

  async open(): Promise<void> {
    const also = [...(this.caches?.values() ?? []), ...(this.logits ? [this.logits] : [])]
    this.session = await CaptureSession.open(this.model, this.requests, this.options, { also })
  }

  async close(): Promise<void> {
    await this.session?.close()
  }

  /** One run of given tensors. */
  async once(feeds: Record<string, WireTensor>): Promise<Capture> {
    return this.finish(new CapturedSteps(this.requests), await this.run(feeds), feeds)
  }

  /** Runs a prompt of tokens and generates the tokens after it. */
  async write({ ids, segments }: TokenRun, newTokens: number): Promise<Capture> {
    const { model, logits } = this
    const tokens = [...ids]
    const parts = new CapturedSteps(this.requests)
    runSize(
      model,
      this.options.scores || this.options.pattern || newTokens > 0 ? undefined : this.requests.at(-1)?.site,
    ).check(tokens.length + newTokens, 'the prompt')
    const whole = () => this.feedsOf(tokens, segments)
    let feeds = whole()
    let found = await this.run(feeds)
    for (let step = 0; step < newTokens; step++) {
      if (!logits) {
        throw new QkError('ERR_UNSUPPORTED_MODEL', 'the model has no output to write from')
      }
      const { outputs, tensors } = found
      tokens.push(likeliest(outputs[logits], tokens.length - 1))
      if (this.caches) {
        parts.add(tensors)
        const caches = Object.fromEntries([...this.caches].map(([input, output]) => [input, outputs[output]]))
        feeds = stepFeeds(model.inputs, tokens[tokens.length - 1], tokens.length - 1, caches)
      } else {
        feeds = whole()
      }
      found = await this.run(feeds)
    }
    const sites = this.requests.map(({ site }) => site)
    const checked = verifiedTokens(model, sites, tokens)
    if (checked.length < tokens.length) {
      feeds = this.feedsOf(checked, segments)
    }
    return { ...(await this.finish(parts, found, feeds)), tokens, newTokens }
  }

  private feedsOf(tokens: readonly number[], segments?: readonly number[]): Record<string, WireTensor> {
    return tokenFeeds(this.model.inputs, [tokens], this.model.tokenizer?.padId ?? 0, [segments])
  }

  private async run(feeds: Record<string, WireTensor>): Promise<CapturedRun> {
    return this.session!.run(feeds, { signal: this.options.signal })
  }

  private async finish(
    parts: CapturedSteps,
    { tensors }: CapturedRun,
    feeds: Record<string, WireTensor>,
  ): Promise<Capture> {
    const { model, requests, options } = this
    parts.add(tensors)
    // One session at a time, so that the weights are in memory once.
    await this.close()
    const verified = await verifySites(
      model.graph,
      requests.map(({ site }) => site),
      feeds,
      model.threads,
    )
    throwIfAborted(options.signal)
    return { newTokens: 0, sites: capturedSites(model, requests, verified), activations: parts.join() }
  }
}

/** The captured sites in the form for users. Errors: ERR_CAPTURE_MISMATCH. */
export function capturedSites(
  model: Model,
  requests: readonly CaptureRequest[],
  verified: readonly Verification[],
): CapturedSite[] {
  return requests.map(({ site, heads, kvHeads, hooks }, i) => {
    const relativeError = acceptedError(model, site, verified[i])
    const names = heads.map((h) => headName(site, h))
    return { site: describeSite(site), heads: names, kvHeads, relativeError, hooks }
  })
}

function logitsOf(outputs: readonly string[], wanted: string | undefined): string | undefined {
  if (wanted === undefined) {
    return outputs.find((name) => /logits/i.test(name))
  }
  if (outputs.includes(wanted)) {
    return wanted
  }
  throw new QkError('ERR_ARGUMENT', `the model has no output "${wanted}"`, {
    hint: `It has ${outputs.join(', ')}.`,
  })
}

/** Index of the largest logit at the last position, for logits [pos, classes] of one sequence in any layout. */
function likeliest(logits: WireTensor, position: number): number {
  const values = tensorValues(logits)
  const classes = logits.dims[logits.dims.length - 1]
  const rows = values.length / classes
  const row = values.subarray(Math.min(position, rows - 1) * classes).subarray(0, classes)
  return row.indexOf(row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY))
}
