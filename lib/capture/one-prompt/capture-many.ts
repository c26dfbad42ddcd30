/** Captures many prompts, one after another, in one session that also verifies each of them. */

import type { Prompt } from '../../contrast/prompt.js'
import { type Prompts, promptSet } from '../../contrast/prompt-set.js'
import { QkError, throwIfAborted } from '../../errors.js'
import { fixedBatch } from '../../model/inference/inputs.js'
import type { WireTensor } from '../../model/inference/session.js'
import { checkModel, type Model } from '../../model/model.js'
import type { HeadSpec } from '../../model/sites/heads.js'
import { checkFlag, checkOptions } from '../../validate.js'
import { encodeSource, type Run } from '../encode.js'
import { explainFailure } from '../explain-failure.js'
import { runFeeds } from '../feeds.js'
import { RowMemory } from '../row-memory.js'
import { runSize, verifiedTokens } from '../run-size.js'
import { captureRequests } from './capture-requests.js'
import { type Capture, capturedSites } from './capture-run.js'
import { type CapturedRun, type CaptureRequest, CaptureSession } from './capture-session.js'
import { CapturedSteps } from './captured-steps.js'

/** Options of `captureMany`. */
export interface CaptureManyOptions {
  /** 'all' (default), or names as in `L0H1,L2H3`. */
  heads?: 'all' | string | readonly HeadSpec[]
  /** Also captures the scores at the input of the softmax: scaled, capped and masked. */
  scores?: boolean
  /** Also captures the pattern: the softmax of the scores. */
  pattern?: boolean
  /** Ends the run with ERR_ABORTED. */
  signal?: AbortSignal
}

const OPTIONS = {
  heads: true,
  scores: true,
  pattern: true,
  signal: true,
} satisfies Record<keyof CaptureManyOptions, true>

/** The capture of one prompt of several. */
export interface CapturedPrompt extends Capture {
  /** Place of the prompt in its set: file and line, or its id or index. */
  where: string
  /** The prompt as given. */
  prompt: Prompt
}

/**
 * Captures prompts in order. Each is run when the previous one has been consumed, so only one is in memory. Prompts
 * need no contrast. Of a counterfactual prompt, only the prompt itself is captured. `capture` runs a single prompt,
 * can generate tokens, and takes whole tensors.
 *
 * Every prompt is verified in the run that captures it: scores recomputed from all of its queries and keys are
 * compared with the model's own. If a prompt is so long that the comparison would not fit into memory (more than 2^13
 * tokens divided by the square root of the number of heads, at least 64), only its beginning is verified, in a
 * separate run. The weights are then in memory twice.
 *
 * Errors: those of prompts, ERR_UNKNOWN_HEAD, ERR_CAPTURE_MISMATCH, ERR_UNSUPPORTED_MODEL (scores whose axes could not
 * be followed), ERR_MEMORY_LIMIT, ERR_INFERENCE, ERR_ABORTED.
 */
export async function* captureMany(
  model: Model,
  prompts: Prompts,
  options: CaptureManyOptions = {},
): AsyncGenerator<CapturedPrompt, void> {
  checkModel(model, 'captureMany')
  checkOptions(options, OPTIONS, 'captureMany')
  for (const name of ['scores', 'pattern'] as const) {
    checkFlag(options[name] ?? false, name)
  }
  const requests = captureRequests(model, options)
  const set = promptSet(prompts, { bare: true })
  const run = new ManyRuns(model, requests, options)
  let count = 0
  try {
    for await (const { prompt, where, folder } of set) {
      throwIfAborted(options.signal)
      const { run: own } = await encodeSource(model, prompt, where, folder)
      yield { where, prompt, ...(await run.capture(own, where)) }
      count += 1
    }
  } finally {
    await run.close()
  }
  if (count === 0) {
    throw new QkError('ERR_PROMPT', 'the prompt set is empty')
  }
}

/** The sessions of one call: one that captures and verifies, and one for prompts that are too long to verify. */
class ManyRuns {
  private verifying: CaptureSession | undefined
  private plain: CaptureSession | undefined
  private readonly memory = new RowMemory()

  constructor(
    private readonly model: Model,
    private readonly requests: readonly CaptureRequest[],
    private readonly options: CaptureManyOptions,
  ) {}

  async capture(run: Run, where: string): Promise<Capture> {
    const { model, requests } = this
    this.verifying ??= await CaptureSession.open(model, requests, this.options, { verify: true })
    const parts = new CapturedSteps(requests)
    const whole = run.kind === 'tokens' ? run.ids : undefined
    if (whole) {
      runSize(model).check(whole.length, where)
    }
    const checked = whole && verifiedTokens(model, this.sites, whole)
    const long = whole && checked && checked.length < whole.length
    const first = long ? { ...run, ids: checked } : run
    const { tensors, verified } = await this.run(this.verifying, first, where)
    const sites = capturedSites(model, requests, verified)
    if (long) {
      this.plain ??= await CaptureSession.open(model, requests, this.options)
      parts.add((await this.run(this.plain, run, where)).tensors)
    } else {
      parts.add(tensors)
    }
    return { ...(whole && { tokens: [...whole] }), newTokens: 0, sites, activations: parts.join() }
  }

  async close(): Promise<void> {
    await this.verifying?.close()
    await this.plain?.close()
  }

  private get sites() {
    return this.requests.map(({ site }) => site)
  }

  private async run(
    session: CaptureSession,
    run: Run,
    where: string,
  ): Promise<Pick<CapturedRun, 'tensors' | 'verified'>> {
    const { model, options, memory } = this
    const feeds = runFeeds(model.inputs, [run], model.tokenizer?.padId ?? 0, fixedBatch(model.inputs))
    const { tensors, outputs, verified } = await session
      .run(feeds, { signal: options.signal, into: memory.take() })
      .catch((error) => {
        throw explainFailure(error, { feeds, queries: [{ where, position: 0 }], keys: [] })
      })
    const own = Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, firstOf(tensor)]))
    memory.giveBack([outputs])
    return { tensors: own, verified }
  }
}

/** A copy of the first entry of a batch. Only in a model with a fixed batch size are there others. */
function firstOf({ type, dims, data }: WireTensor): WireTensor {
  const values = data as Float32Array
  return { type, dims: [1, ...dims.slice(1)], data: values.slice(0, values.length / dims[0]) }
}
