/** Captures many prompts, one after another, through one session that verifies each of them as it runs. */

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

/** What `captureMany` takes besides the model and the prompts. */
export interface CaptureManyOptions {
  /** 'all' (default), or names as in `L0H1,L2H3`. */
  heads?: 'all' | string | readonly HeadSpec[]
  /** Also the scores as they enter the softmax: scaled, capped and masked. */
  scores?: boolean
  /** Also the pattern: the softmax of the scores. */
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

/** What was captured of one prompt of several. */
export interface CapturedPrompt extends Capture {
  /** Where the prompt stands in its set: file and line, or its id or index. */
  where: string
  /** The prompt as it was given. */
  prompt: Prompt
}

/**
 * Captures prompts in their order, each when the one before it has been taken: no more than one is in memory. They need
 * no contrast; of a counterfactual prompt the prompt itself is captured. `capture` runs a single prompt, lets the model
 * write on, and takes whole tensors.
 *
 * Every prompt is verified in the run that captures it: scores recomputed from all of its queries and keys, against the
 * model's own. Only of a prompt so long that the comparison would not fit into memory (more than 2^13 tokens by the square
 * root of the number of heads, at least 64) the beginning is verified, in a run of its own; the weights are then in memory
 * twice.
 *
 * Errors: those of prompts, ERR_UNKNOWN_HEAD, ERR_CAPTURE_MISMATCH, ERR_UNSUPPORTED_MODEL (scores whose axes could not be
 * followed), ERR_MEMORY_LIMIT, ERR_INFERENCE, ERR_ABORTED.
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

/** The sessions of one call: one that captures and verifies, and another one for prompts that are too long for that. */
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

/** A copy of the first of a batch, which is all of it but in a model exported for one batch size. */
function firstOf({ type, dims, data }: WireTensor): WireTensor {
  const values = data as Float32Array
  return { type, dims: [1, ...dims.slice(1)], data: values.slice(0, values.length / dims[0]) }
}
