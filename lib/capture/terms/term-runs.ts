/**
 * Single terms as attribution and interventions take them: one run of the model a term, with the pair of keys that
 * stands for it, in batches that can run together.
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
 * One term of one prompt, with a run of its own: what is attributed or edited. A prompt with several terms is run once
 * for each, so that no edit meets another.
 */
export interface TermRun {
  where: string
  /** Index of its prompt, over which intervals are taken. */
  prompt: number
  run: Run
  /** Query row, key that it attends to, and the key that attention may move to. */
  query: number
  origin: number
  target?: number
  /** A second run to take coordinates from, and the rows there. */
  donor?: { run: Run; query: number; key: number }
  /** Token or class that is right, and the one that an edit may turn the answer to. */
  answer?: number
  other?: number
  /** The whole term, of which the above is one pair. */
  contrast: string
  term: EncodedTerm
}

export interface TermRunOptions {
  /** Contrasts whose terms name origin and target; by default every contrast's do. */
  contrasts?: readonly string[]
  /** Seed of the choice among several negative keys. */
  seed: number
}

/**
 * One item a term: its first positive key is the origin, one of its negative keys, chosen by the seed, the
 * target. Where the negative half lies in a counterfactual run, that run is the donor and there is no target.
 * Errors: those of prompts; ERR_PROMPT where labels take the place of terms.
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

/** Retrieval copies what stands at the key, so the token there is the natural answer. */
function tokenAt({ runs: [run] }: EncodedPrompt, position: number): number | undefined {
  return run.kind === 'tokens' ? run.ids[position] : undefined
}

/**
 * Finds out on the first prompt how runs may share batches. It loads the model, so it comes before any session of the
 * caller's own. Errors: those of prompts, ERR_INFERENCE.
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
 * Items that can run together: of one length, where they cannot be padded, and as many as the model was exported for;
 * `apart` names what else keeps items apart.
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
      // A donor is a run of the same inference.
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
