/**
 * Single terms for attribution and interventions. Each term has a run of its own and one pair of keys that represents
 * it, in batches that can share an inference.
 */

import type { PlacedPrompt, PromptSet } from '../../contrast/prompt-set.js'
import { QkError } from '../../errors.js'
import { groupBy } from '../../math/group-by.js'
import { seededRandom } from '../../math/random.js'
import type { Model } from '../../model/model.js'
import { findSharing } from '../batch-dependence.js'
import { type EncodedPrompt, type EncodedTerm, encodePrompt, type Run } from '../encode.js'
import { batchingFor } from '../feeds.js'
import { runSize } from '../run-size.js'

/**
 * One term of one prompt, with its own run: the item that is attributed or edited. A prompt with several terms runs
 * once for each, so that edits do not interact.
 */
export interface TermRun {
  where: string
  /** Index of its prompt, the unit of bootstrap intervals. */
  prompt: number
  run: Run
  /** Query row, the key that it attends to, and the key to which attention may move. */
  query: number
  origin: number
  target?: number
  /** A second run that gives coordinates, and the rows in it. */
  donor?: { run: Run; query: number; key: number }
  /** The right token or class, and the one to which an edit may change the answer. */
  answer?: number
  other?: number
  /** The whole term, to which the pair belongs. */
  contrast: string
  term: EncodedTerm
}

export interface TermRunOptions {
  /** Contrasts whose terms give origin and target; default: all. */
  contrasts?: readonly string[]
  /** Seed of the choice among several negative keys. */
  seed: number
}

/**
 * One item per term. Its first positive key is the origin. One of its negative keys, chosen by the seed, is the
 * target. If the negative half lies in a counterfactual run, that run is the donor, and there is no target. Errors:
 * those of prompts; ERR_PROMPT for labels in place of terms.
 */
export async function* termRuns(
  model: Model,
  set: AsyncIterable<PlacedPrompt>,
  { contrasts, seed }: TermRunOptions,
): AsyncGenerator<TermRun> {
  const random = seededRandom(seed)
  let prompt = 0
  for await (const placed of set) {
    const encoded = await encodePrompt(model, placed)
    for (const rule of encoded.rules) {
      if (contrasts && !contrasts.includes(rule.contrast)) {
        continue
      }
      if (!rule.terms) {
        throw new QkError(
          'ERR_PROMPT',
          `${placed.where}: queries are taken from "terms", and this prompt has "labels"`,
        )
      }
      for (const term of rule.terms) {
        const { query, positive, queryNeg, negative } = term
        const origin = positive[0]
        const target = random.pick(negative)
        yield {
          where: placed.where,
          prompt,
          run: encoded.runs[0],
          query,
          origin,
          contrast: rule.contrast,
          term,
          ...(rule.counterfactual
            ? { donor: { run: encoded.runs[1], query: queryNeg, key: target } }
            : { target, other: tokenAt(encoded, target) }),
          answer: encoded.answer ?? tokenAt(encoded, origin),
        }
      }
    }
    prompt += 1
  }
}

/** Retrieval copies the token at the key, so that token is the natural answer. */
function tokenAt({ runs: [run] }: EncodedPrompt, position: number): number | undefined {
  return run.kind === 'tokens' ? run.ids[position] : undefined
}

/**
 * Determines on the first prompt how runs may share batches. It loads the model, so it runs before any session of the
 * caller. Errors: those of prompts, ERR_INFERENCE.
 */
export async function settleSharing(model: Model, set: PromptSet): Promise<void> {
  for await (const placed of set) {
    const { runs } = await encodePrompt(model, placed)
    if (runs[0].kind === 'tokens') {
      await findSharing(model, runs[0].ids)
    }
    return
  }
}

/**
 * Batches of items that can share an inference: of one length if they cannot be padded, and as many as the model's
 * fixed batch size; `apart` returns a further property in which they must agree.
 */
export async function* termRunBatches(
  model: Model,
  items: AsyncIterable<TermRun>,
  size: number,
  apart: (item: TermRun) => string = () => '',
): AsyncGenerator<TermRun[]> {
  const memory = runSize(model)
  const batching = batchingFor(model, size, memory)
  let waiting: TermRun[] = []
  const length = ({ run }: { run: TermRun['run'] }) =>
    run.kind === 'tokens'
      ? `${run.ids.length}`
      : JSON.stringify(Object.values(run.tensors).map((t) => t.shape))
  const flush = function* () {
    if (waiting.length === 0) {
      return
    }
    const { padded, fixedRuns, mostRuns } = batching
    const key = (item: TermRun) => {
      const donor = item.donor ? length(item.donor) : ''
      const shape = item.run.kind === 'tokens' && padded ? `${donor !== ''}` : `${length(item)} ${donor}`
      return `${shape} ${apart(item)}`
    }
    for (const group of groupBy(waiting, key).values()) {
      if (!padded && group[0].donor && length(group[0]) !== length(group[0].donor)) {
        throw new QkError(
          'ERR_PROMPT',
          `${group[0].where}: the model has no mask, or its rows depend on padding: both runs must be as long`,
        )
      }
      const longest = Math.max(...group.map(({ run }) => (run.kind === 'tokens' ? run.ids.length : 0)))
      const together = fixedRuns ?? mostRuns(longest)
      // A donor is another run of the same inference.
      const most = Math.max(1, Math.floor(together / (group[0].donor ? 2 : 1)))
      for (let i = 0; i < group.length; i += most) {
        yield group.slice(i, i + most)
      }
    }
    waiting = []
  }
  for await (const item of items) {
    if (item.run.kind === 'tokens') {
      memory.check(item.run.ids.length, item.where)
    }
    waiting.push(item)
    if (waiting.length === size) {
      yield* flush()
    }
  }
  yield* flush()
}
