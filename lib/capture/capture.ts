/**
 * Captures what a model computes on one prompt: queries and keys of chosen heads and, on request, the scores that
 * enter the softmax and the pattern that leaves it, by their TransformerLens names; also while the model writes on.
 */

import { checkSource, type PromptSource } from '../contrast/prompt.js'
import { QkError, throwIfAborted } from '../errors.js'
import { groupBy } from '../math/group-by.js'
import { type CaptureGraph, fullCaptureGraph, scoreMatrix } from '../model/graphs/capture-graph.js'
import { verifySites } from '../model/graphs/verify.js'
import { cacheOutputs, makeArray, numberWriter, stepFeeds, tokenFeeds } from '../model/inference/inputs.js'
import { InferenceSession, type WireTensor } from '../model/inference/session.js'
import { tensorValues } from '../model/inference/values.js'
import { describeSite, Model, toleranceOf } from '../model/model.js'
import { type HeadSpec, parseHeads } from '../model/sites/heads.js'
import { type AttentionSite, headName, keyHeadOf, type ResolvedSite } from '../model/sites/site.js'
import { checkInteger, checkOptions, refuseUnknownKeys } from '../validate.js'
import { encodeSource, readTensor } from './encode.js'

export interface CaptureOptions {
  /** 'all' (default), or names as in `L0H1,L2H3`. */
  heads?: 'all' | string | readonly HeadSpec[]
  /** Also the scores as they enter the softmax: scaled, capped and masked. */
  scores?: boolean
  /** Also the pattern: the softmax of the scores. */
  pattern?: boolean
  /**
   * Lets the model write this many tokens, each the likeliest, and captures them too. Where it has a cache, keys are
   * gathered from it and every step adds one row of queries; otherwise the text so far is run again.
   */
  newTokens?: number
  /** Name of the output with the logits, for `newTokens`; default the one called so. */
  output?: string
  /** Folder that `npy` files of inputs are relative to; default the current one. */
  folder?: string
  signal?: AbortSignal
}

const OPTIONS = {
  heads: true,
  scores: true,
  pattern: true,
  newTokens: true,
  output: true,
  folder: true,
  signal: true,
} satisfies Record<keyof CaptureOptions, true>

const SOURCE_KEYS = { text: true, tokens: true, inputs: true } satisfies Record<keyof PromptSource, true>

export interface CapturedTensor {
  /** Row-major; the bits of float16 in a Uint16Array. */
  data: Float32Array | Uint16Array
  dtype: 'f32' | 'f16'
  shape: number[]
}

/** Where the captured tensors of one site are. */
export interface CapturedSite {
  site: AttentionSite
  /** Names of the query heads, in the order of the head axis. */
  heads: string[]
  /** The key heads, in the order of the head axis of the keys. */
  kvHeads: number[]
  /** Verification on this very prompt: recomputed scores against the model's own. */
  relativeError: number
  /** Keys into `activations`. */
  hooks: { q: string; k: string; scores: string; pattern: string }
}

export interface Capture {
  /** Token ids, those that were written included; absent where the model takes tensors. */
  tokens?: number[]
  /** How many of the tokens the model wrote. */
  newTokens: number
  sites: CapturedSite[]
  /**
   * By hook name: `blocks.0.attn.hook_rot_q` [batch, pos, head, d], `hook_rot_k` [batch, pos, kvHead, d],
   * `hook_attn_scores` and `hook_pattern` [batch, head, query, key].
   */
  activations: Record<string, CapturedTensor>
}

/** What is asked of one site. */
interface Request {
  site: ResolvedSite
  heads: number[]
  kvHeads: number[]
  hooks: CapturedSite['hooks']
}

/**
 * Runs one prompt: `text`, `tokens`, or `inputs` with a whole tensor, batch included, for each of the model's inputs.
 *
 * Errors: ERR_UNKNOWN_HEAD, ERR_PROMPT, ERR_TOKENIZER, ERR_SHAPE, ERR_CAPTURE_MISMATCH, ERR_UNSUPPORTED_MODEL
 * (scores whose axes could not be followed; nothing that could be written from), ERR_INFERENCE, ERR_ABORTED.
 */
export async function capture(
  model: Model,
  prompt: PromptSource,
  options: CaptureOptions = {},
): Promise<Capture> {
  if (!(model instanceof Model)) {
    throw new QkError('ERR_TYPE', 'capture takes an opened model', { hint: 'await openModel(file) first.' })
  }
  checkOptions(options, OPTIONS, 'capture')
  checkOptions(prompt, SOURCE_KEYS, 'a prompt to capture')
  checkSource(prompt, (message, hint) => {
    throw new QkError('ERR_PROMPT', `the prompt: ${message}`, { hint })
  })
  const { signal, newTokens = 0 } = options
  checkInteger(newTokens, 'newTokens', 0)
  throwIfAborted(signal)
  const requests = requestsOf(model, options)
  const run = new CaptureRun(model, requests, options)
  try {
    await run.open()
    const ids = prompt.inputs ? undefined : await tokensOf(model, prompt)
    if (newTokens > 0 && !ids) {
      throw new QkError('ERR_PROMPT', 'only a prompt of text or tokens can be written on')
    }
    return ids ? await run.write(ids, newTokens) : await run.once(wholeInputs(model, prompt, options.folder))
  } finally {
    await run.close()
  }
}

function requestsOf(model: Model, options: CaptureOptions): Request[] {
  return [...groupBy(parseHeads(options.heads ?? 'all', model.sites), (h) => h.site)].map(([index, refs]) => {
    const site = model.sites[index]
    if ((options.scores || options.pattern) && !site.patternAxes) {
      throw new QkError(
        'ERR_UNSUPPORTED_MODEL',
        `the axes of the scores of ${headName(site, 0)} could not be followed from product to softmax`,
        { hint: 'Queries and keys can still be captured.' },
      )
    }
    const heads = refs.map((r) => r.head)
    const prefix = site.hooks.q.slice(0, site.hooks.q.lastIndexOf('.'))
    return {
      site,
      heads,
      kvHeads: [...new Set(heads.map((h) => keyHeadOf(site, h)))],
      hooks: { ...site.hooks, scores: `${prefix}.hook_attn_scores`, pattern: `${prefix}.hook_pattern` },
    }
  })
}

async function tokensOf(model: Model, prompt: PromptSource): Promise<number[]> {
  const { run } = await encodeSource(model, prompt, 'the prompt', '.')
  if (run.kind !== 'tokens') throw new QkError('ERR_PROMPT', 'the prompt has neither text nor tokens')
  return [...run.ids]
}

/** Tensors as the model takes them. */
function wholeInputs(model: Model, { inputs = {} }: PromptSource, folder = '.'): Record<string, WireTensor> {
  refuseUnknownKeys(inputs, Object.fromEntries(model.inputs.map(({ name }) => [name, true])), 'the model')
  return Object.fromEntries(
    model.inputs.map((input) => {
      const source = inputs[input.name]
      if (!source) throw new QkError('ERR_PROMPT', `the input "${input.name}" is missing`)
      const { values, shape } = readTensor(source, `input "${input.name}"`, folder)
      const data = makeArray(input, values.length)
      const write = numberWriter(data, input.type)
      for (let i = 0; i < values.length; i++) write(i, values[i])
      return [input.name, { type: input.type, dims: shape, data }] as const
    }),
  )
}

/** Sessions of one call. */
class CaptureRun {
  private session: InferenceSession | undefined
  private graph: CaptureGraph | undefined
  private readonly caches: Map<string, string> | undefined
  private readonly logits: string | undefined

  constructor(
    private readonly model: Model,
    private readonly requests: readonly Request[],
    private readonly options: CaptureOptions,
  ) {
    const outputs = model.graph.model.proto.graph!.output.map(({ name }) => name)
    this.caches = options.newTokens ? cacheOutputs(model.inputs, outputs) : undefined
    this.logits = options.newTokens ? logitsOf(outputs, options.output) : undefined
  }

  async open(): Promise<void> {
    const { model, requests, options } = this
    const also = [...(this.caches?.values() ?? []), ...(this.logits ? [this.logits] : [])]
    this.graph = fullCaptureGraph(model.graph, requests, (editor) => {
      for (const name of also) editor.output(name)
      for (const { site, heads, hooks } of requests) {
        const { fused, softmaxInput, softmax } = site.candidate
        const taken = { count: site.heads, chosen: heads }
        const add = (tensor: string, name: string) =>
          editor.output(scoreMatrix(editor, tensor, site.patternAxes!, taken, name))
        if (options.scores) add(softmaxInput, hooks.scores)
        if (options.pattern) add(fused?.pattern ?? softmax.output[0], hooks.pattern)
      }
      return true
    })
    const { weightsFolder } = model.graph.model
    this.session = await InferenceSession.open({
      bytes: this.graph.bytes,
      weightsFolder,
      threads: model.threads,
    })
  }

  async close(): Promise<void> {
    await this.session?.close()
  }

  /** One run of given tensors. */
  async once(feeds: Record<string, WireTensor>): Promise<Capture> {
    return this.finish(new Parts(this.requests), await this.run(feeds), feeds)
  }

  /** A prompt of tokens, and what the model writes after it. */
  async write(prompt: readonly number[], newTokens: number): Promise<Capture> {
    const { model, logits } = this
    const tokens = [...prompt]
    const parts = new Parts(this.requests)
    const whole = () => tokenFeeds(model.inputs, [tokens], model.tokenizer?.padId ?? 0)
    let feeds = whole()
    let outputs = await this.run(feeds)
    for (let step = 0; step < newTokens; step++) {
      if (!logits) throw new QkError('ERR_UNSUPPORTED_MODEL', 'the model has no output to write from')
      tokens.push(likeliest(outputs[logits], tokens.length - 1))
      if (this.caches) {
        parts.add(this.named(outputs))
        const caches = Object.fromEntries([...this.caches].map(([input, output]) => [input, outputs[output]]))
        feeds = stepFeeds(model.inputs, tokens[tokens.length - 1], tokens.length - 1, caches)
      } else {
        feeds = whole()
      }
      outputs = await this.run(feeds)
    }
    return { ...(await this.finish(parts, outputs, feeds)), tokens, newTokens }
  }

  private async run(feeds: Record<string, WireTensor>): Promise<Record<string, WireTensor>> {
    const used = Object.entries(feeds).filter(([name]) => this.graph!.inputs.includes(name))
    return this.session!.run(Object.fromEntries(used), { signal: this.options.signal })
  }

  /** Captured tensors by hook. */
  private named(outputs: Record<string, WireTensor>): Record<string, WireTensor> {
    const { scores, pattern } = this.options
    return Object.fromEntries(
      this.requests.flatMap(({ hooks }, i) => [
        [hooks.q, outputs[this.graph!.outputs[i].q]] as const,
        [hooks.k, outputs[this.graph!.outputs[i].k]] as const,
        ...(scores ? [[hooks.scores, outputs[hooks.scores]] as const] : []),
        ...(pattern ? [[hooks.pattern, outputs[hooks.pattern]] as const] : []),
      ]),
    )
  }

  private async finish(
    parts: Parts,
    outputs: Record<string, WireTensor>,
    feeds: Record<string, WireTensor>,
  ): Promise<Capture> {
    const { model, requests, options } = this
    parts.add(this.named(outputs))
    const verified = await verifySites(
      model.graph,
      requests.map(({ site }) => site),
      feeds,
      model.threads,
    )
    throwIfAborted(options.signal)
    const sites = requests.map(({ site, heads, kvHeads, hooks }, i): CapturedSite => {
      const { relativeError, finite } = verified[i]
      if (!(relativeError <= toleranceOf(site)) && finite) {
        throw new QkError(
          'ERR_CAPTURE_MISMATCH',
          `${headName(site, heads[0])}: scores recomputed from its queries and keys differ from the model's by ` +
            `${relativeError.toExponential(1)}`,
        )
      }
      const names = heads.map((h) => headName(site, h))
      return { site: describeSite(site), heads: names, kvHeads, relativeError, hooks }
    })
    return { newTokens: 0, sites, activations: parts.join() }
  }
}

/** Captured tensors of the steps of one text. Keys of the last step are those of all positions. */
class Parts {
  private readonly steps: Record<string, WireTensor>[] = []

  constructor(private readonly requests: readonly Request[]) {}

  add(tensors: Record<string, WireTensor>): void {
    this.steps.push(tensors)
  }

  join(): Record<string, CapturedTensor> {
    const last = this.steps[this.steps.length - 1]
    const joined: Record<string, CapturedTensor> = {}
    for (const { hooks } of this.requests) {
      joined[hooks.k] = captured(last[hooks.k])
      for (const hook of [hooks.q, hooks.scores, hooks.pattern]) {
        if (last[hook]) joined[hook] = this.rows(hook, hook === hooks.q ? 1 : 2, hook === hooks.scores)
      }
    }
    return joined
  }

  /** Rows of all steps one after another along `axis`; keys that a row could not see yet are masked, or get nothing. */
  private rows(hook: string, axis: number, masked: boolean): CapturedTensor {
    const parts = this.steps.map((step) => captured(step[hook]))
    if (parts.length === 1) return parts[0]
    const { dtype, shape: end } = parts[parts.length - 1]
    const shape = [...end]
    shape[axis] = parts.reduce((n, part) => n + part.shape[axis], 0)
    const filler = !masked ? 0 : dtype === 'f16' ? F16_MINUS_INFINITY : Number.NEGATIVE_INFINITY
    const size = shape.reduce((a, b) => a * b, 1)
    const data = (dtype === 'f16' ? new Uint16Array(size) : new Float32Array(size)).fill(filler)
    const outer = shape.slice(0, axis).reduce((a, b) => a * b, 1)
    const width = shape.slice(axis + 1).reduce((a, b) => a * b, 1)
    for (let o = 0; o < outer; o++) {
      let row = o * shape[axis]
      for (const part of parts) {
        const own = part.shape.slice(axis + 1).reduce((a, b) => a * b, 1)
        for (let i = 0; i < part.shape[axis]; i++, row++) {
          const from = (o * part.shape[axis] + i) * own
          data.set(part.data.subarray(from, from + own), row * width)
        }
      }
    }
    return { data, dtype, shape }
  }
}

const F16_MINUS_INFINITY = 0xfc00

function captured({ data, dims, type }: WireTensor): CapturedTensor {
  const half = type === 'float16'
  return { data: data as Float32Array, dtype: half ? 'f16' : 'f32', shape: [...dims] }
}

function logitsOf(outputs: readonly string[], wanted: string | undefined): string | undefined {
  if (wanted === undefined) return outputs.find((name) => /logits/i.test(name))
  if (outputs.includes(wanted)) return wanted
  throw new QkError('ERR_ARGUMENT', `the model has no output "${wanted}"`, {
    hint: `It has ${outputs.join(', ')}.`,
  })
}

/** Index of the largest logit of the last position; logits are [1, pos, classes] or [pos, classes]. */
function likeliest(logits: WireTensor, position: number): number {
  const values = tensorValues(logits)
  const [rows, classes] = logits.dims.slice(-2)
  const row = values.subarray(Math.min(position, rows - 1) * classes).subarray(0, classes)
  return row.indexOf(row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY))
}
