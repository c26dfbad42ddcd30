/** Options for one prompt, or a set of prompts. */

import { type Command, InvalidArgumentError } from 'commander'
import type { PromptSource } from '../../contrast/prompt.js'
import {
  type PromptSet,
  type PromptSetOptions,
  promptsFromInput,
  readPrompts,
} from '../../contrast/prompt-set.js'
import { QkError } from '../../errors.js'
import type { Model } from '../../model/model.js'
import { parseHeadNames } from './options.js'

export interface PromptOptions {
  prompt?: string
  tokens?: number[]
  prompts?: string
}

/** `--prompt`, `--tokens` and `--prompts`, of which one is given. */
export function addPromptOptions(command: Command): Command {
  return command
    .option('--prompt <text>', 'one prompt, as text')
    .option('--tokens <ids>', 'one prompt, as token ids with commas between them', parseTokens)
    .option('--prompts <file>', 'prompt set, JSONL; its prompts need no contrast; - for standard input')
}

function parseTokens(value: string): number[] {
  const ids = value.split(',').map((id) => (/^\s*\d+\s*$/.test(id) ? Number(id) : Number.NaN))
  if (ids.every((id) => Number.isSafeInteger(id))) {
    return ids
  }
  throw new InvalidArgumentError('Write token ids with commas between them, as in 1,5,27.')
}

/** Parses heads of an option that may be repeated, each time with one name or several separated by commas. */
export function parseMoreHeads(value: string, before: string | undefined): string {
  const names = parseHeadNames(value)
  return before === undefined || before === 'all' || names === 'all' ? names : `${before},${names}`
}

/** Stands for standard input in place of a file name. */
const STANDARD_INPUT = '-'

/**
 * The prompt set that a command names. Standard input is read to its end, since a set is iterated over more than once.
 * A file is not read yet. Errors: ERR_FILE.
 */
export async function promptSetOf(named: string, options: PromptSetOptions = {}): Promise<PromptSet> {
  if (named !== STANDARD_INPUT) {
    return readPrompts(named, options)
  }
  const chunks: Buffer[] = []
  try {
    for await (const chunk of process.stdin) {
      chunks.push(chunk as Buffer)
    }
  } catch (cause) {
    throw new QkError('ERR_FILE', `cannot read standard input: ${(cause as Error).message}`, { cause })
  }
  return promptsFromInput(Buffer.concat(chunks), options)
}

/** The prompts in the options. A file is not read yet. Errors: ERR_USAGE unless exactly one is given, ERR_FILE. */
export async function promptsOf({
  prompt,
  tokens,
  prompts,
}: PromptOptions): Promise<PromptSource | PromptSet> {
  const given = Object.entries({ '--prompt': prompt, '--tokens': tokens, '--prompts': prompts })
    .filter(([, value]) => value !== undefined)
    .map(([name]) => name)
  if (given.length !== 1) {
    throw new QkError(
      'ERR_USAGE',
      given.length === 0 ? 'no prompt is given' : `${given.join(' and ')} are given together`,
      { hint: 'Give one of --prompt "text", --tokens 1,2,3 and --prompts set.jsonl.' },
    )
  }
  if (prompts !== undefined) {
    return promptSetOf(prompts, { bare: true })
  }
  return prompt !== undefined ? { text: prompt } : { tokens }
}

/** Errors: ERR_TOKENIZER if the prompt is text and the model has no tokenizer. */
export function checkPromptFor(model: Model, { prompt }: PromptOptions): void {
  if (prompt === undefined || model.tokenizer) {
    return
  }
  throw new QkError('ERR_TOKENIZER', `--prompt is text, and ${model.path} has no tokenizer beside it`, {
    hint: 'Give --tokenizer tokenizer.json, or the prompt as token ids: --tokens 1,2,3.',
  })
}
