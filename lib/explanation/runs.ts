/** The prompts to explain: their runs, and the explained query of each. */

import { encodePrompt, type Run } from '../capture/encode.js'
import { runSize } from '../capture/run-size.js'
import { UnknownWords } from '../capture/unknown-words.js'
import { resolvePosition } from '../contrast/positions.js'
import type { Prompt, PromptSource } from '../contrast/prompt.js'
import { type Prompts, promptSet } from '../contrast/prompt-set.js'
import { QkError, throwIfAborted } from '../errors.js'
import type { Model } from '../model/model.js'
import { counted } from '../validate.js'
import type { ExplainedTerm } from './report.js'

/** One prompt, and the position in it that is explained. */
export interface ExplainedRun {
  where: string
  run: Run
  query: number
  terms: ExplainedTerm[]
  tokens?: number[]
  /** Absent for a prompt of tensors, whose positions are known only after it has run. */
  words?: string[]
}

/** Name of a single prompt in messages. */
const THE_PROMPT = 'the prompt'

/** A single prompt, or a set of prompts. */
export type ExplainedPrompts = Prompts | PromptSource

/** Whether it is a prompt by itself. */
function isSource(prompts: ExplainedPrompts): prompts is PromptSource {
  const iterable = prompts as Partial<Iterable<Prompt> & AsyncIterable<Prompt>>
  return (
    typeof prompts === 'object' &&
    prompts !== null &&
    iterable[Symbol.iterator] === undefined &&
    iterable[Symbol.asyncIterator] === undefined
  )
}

/** The first `count` prompts. Errors: those of prompts, ERR_POSITION, ERR_MEMORY_LIMIT, ERR_ABORTED. */
export async function explainedRuns(
  model: Model,
  prompts: ExplainedPrompts,
  { query, count, signal }: { query: number | undefined; count: number; signal?: AbortSignal },
): Promise<{ runs: ExplainedRun[]; warnings: string[] }> {
  const single = isSource(prompts)
  // Null is refused like any other value that is not a prompt set.
  const set = promptSet(single ? [prompts] : (prompts ?? undefined), { bare: true })
  const words = new UnknownWords()
  const memory = runSize(model)
  const runs: ExplainedRun[] = []
  for await (const placed of words.of(set)) {
    throwIfAborted(signal)
    const where = single ? THE_PROMPT : placed.where
    const encoded = await encodePrompt(model, { ...placed, where })
    const [run] = encoded.runs
    if (run.kind === 'tokens') {
      memory.check(run.ids.length, where)
    }
    const terms = encoded.rules.flatMap(({ contrast, counterfactual, terms: own = [] }) =>
      own.map(
        (term): ExplainedTerm => ({
          contrast,
          query: term.query,
          positive: term.positive,
          negative: counterfactual ? [] : term.negative,
        }),
      ),
    )
    runs.push({
      where,
      run,
      terms,
      query: queryOf(run, query ?? terms[0]?.query ?? -1, where),
      ...(run.kind === 'tokens' && { tokens: [...run.ids], words: wordsOf(model, run.ids) }),
    })
    if (runs.length === count) {
      break
    }
  }
  if (runs.length === 0) {
    throw new QkError('ERR_PROMPT', 'the prompt set is empty')
  }
  return { runs, warnings: words.warnings() }
}

function wordsOf({ tokenizer }: Model, ids: readonly number[]): string[] {
  return ids.map((id) => tokenizer?.token(id) ?? `#${id}`)
}

/** Errors: ERR_POSITION, which names the range. */
function queryOf(run: Run, query: number, where: string): number {
  const length = run.kind === 'tokens' ? run.ids.length : undefined
  if (length !== undefined && (query < -length || query >= length)) {
    throw new QkError(
      'ERR_POSITION',
      `${where}: the query is ${query} in a prompt of ${counted(length, 'token')}`,
      {
        hint: `Choose a position from 0 to ${length - 1}, or from -${length} to -1 to count from the end.`,
      },
    )
  }
  return resolvePosition(query, { length }, where)
}
