/**
 * Captures one prompt: queries and keys of chosen heads and, on request, the scores at the input of the softmax and
 * the attention pattern, by their TransformerLens names. It can also capture tokens that the model generates.
 */

import { checkSource } from '../../contrast/check-source.js'
import type { PromptSource } from '../../contrast/prompt.js'
import { QkError, throwIfAborted } from '../../errors.js'
import { makeArray, numberWriter } from '../../model/inference/inputs.js'
import type { WireTensor } from '../../model/inference/session.js'
import { checkModel, type Model } from '../../model/model.js'
import type { HeadSpec } from '../../model/sites/heads.js'
import { checkInteger, checkOptions, kindOf, refuseUnknownKeys } from '../../validate.js'
import { encodeSource, type TokenRun } from '../encode.js'
import { checkValues, readTensor } from '../encode-inputs.js'
import { captureRequests } from './capture-requests.js'
import { type Capture, CaptureRun } from './capture-run.js'

/** Options of `capture`. */
export interface CaptureOptions {
  /** 'all' (default), or names as in `L0H1,L2H3`. */
  heads?: 'all' | string | readonly HeadSpec[]
  /** Also captures the scores at the input of the softmax: scaled, capped and masked. */
  scores?: boolean
  /** Also captures the pattern: the softmax of the scores. */
  pattern?: boolean
  /**
   * Generates this many tokens by greedy decoding, and captures them too. If the model has a cache, keys are read from
   * it, and every step adds one row of queries. Otherwise the whole text is run again at every step.
   */
  newTokens?: number
  /** Name of the output with the logits, for `newTokens`; default: the one called logits. */
  output?: string
  /** Folder that `npy` files of inputs are relative to; default the current one. */
  folder?: string
  /** Ends the run with ERR_ABORTED. */
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

const SOURCE_KEYS = { text: true, pair: true, tokens: true, inputs: true } satisfies Record<
  keyof PromptSource,
  true
>

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
  checkModel(model, 'capture')
  checkOptions(options, OPTIONS, 'capture')
  if (typeof prompt !== 'object' || prompt === null || Array.isArray(prompt) || ArrayBuffer.isView(prompt)) {
    throw new QkError('ERR_TYPE', `capture takes a prompt as an object, got ${kindOf(prompt)}`, {
      hint: 'As in { text: "The hat is in Box A." }, { tokens: [1, 5, 27] } or { inputs: { name: tensor } }.',
    })
  }
  checkOptions(prompt, SOURCE_KEYS, 'a prompt to capture')
  checkSource(prompt, (message, hint) => {
    throw new QkError('ERR_PROMPT', `the prompt: ${message}`, { hint })
  })
  const { signal, newTokens = 0 } = options
  checkInteger(newTokens, 'newTokens', 0)
  throwIfAborted(signal)
  const requests = captureRequests(model, options)
  const run = new CaptureRun(model, requests, options)
  try {
    await run.open()
    const tokens = prompt.inputs ? undefined : await tokensOf(model, prompt)
    if (newTokens > 0 && (!tokens || prompt.pair !== undefined)) {
      throw new QkError('ERR_PROMPT', 'only a prompt of one text or tokens can be written on')
    }
    return tokens
      ? await run.write(tokens, newTokens)
      : await run.once(wholeInputs(model, prompt, options.folder))
  } finally {
    await run.close()
  }
}

async function tokensOf(model: Model, prompt: PromptSource): Promise<TokenRun> {
  const { run } = await encodeSource(model, prompt, 'the prompt', '.')
  if (run.kind !== 'tokens') {
    throw new QkError('ERR_PROMPT', 'the prompt has neither text nor tokens')
  }
  return run
}

/** Tensors as the model takes them. */
function wholeInputs(model: Model, { inputs = {} }: PromptSource, folder = '.'): Record<string, WireTensor> {
  refuseUnknownKeys(inputs, Object.fromEntries(model.inputs.map(({ name }) => [name, true])), 'the model')
  return Object.fromEntries(
    model.inputs.map((input) => {
      const source = inputs[input.name]
      if (!source) {
        throw new QkError('ERR_PROMPT', `the input "${input.name}" is missing`)
      }
      const at = `input "${input.name}"`
      const { values, shape } = readTensor(source, at, folder)
      checkValues(values, input, model, at)
      const data = makeArray(input, values.length)
      const write = numberWriter(data, input.type)
      for (let i = 0; i < values.length; i++) {
        write(i, values[i])
      }
      return [input.name, { type: input.type, dims: shape, data }] as const
    }),
  )
}
