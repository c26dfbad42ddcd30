/** Prompt sets: JSONL files read line by line, or any iterable of prompts. */

import { createHash } from 'node:crypto'
import { createReadStream, statSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { QkError } from '../errors.js'
import { type Prompt, promptRules, type TermRule } from './prompt.js'

/** A prompt with its rules laid out, and where it stands for messages. */
export interface PlacedPrompt {
  prompt: Prompt
  rules: TermRule[]
  where: string
  /** Folder that relative file names in the prompt start from. */
  folder: string
}

/** What a contrast is, as far as a result keeps it. */
export interface ContrastDefinition {
  rule: 'terms' | 'counterfactual' | 'labels'
  /** Prompts that take part. */
  prompts: number
  /** The first of them, without tensors. */
  example: Prompt
}

export interface PromptSetSummary {
  /** Path as given, or `memory`. */
  source: string
  /** Of the file, or of the prompts as JSON lines. */
  sha256: string
  prompts: number
  /** Names, in order of first appearance. */
  contrasts: string[]
  definitions: Record<string, ContrastDefinition>
}

export interface PromptSet extends AsyncIterable<PlacedPrompt> {
  /** Reads and checks the whole set once. Errors: ERR_PROMPT with the line's number, ERR_EMPTY_SET. */
  summary(signal?: AbortSignal): Promise<PromptSetSummary>
}

export type Prompts = PromptSet | Iterable<Prompt>

/** A JSONL file as a prompt set; nothing is read until it is used. Errors: ERR_FILE. */
export function readPrompts(file: string): PromptSet {
  const folder = path.dirname(file)
  try {
    if (!statSync(file).isFile()) throw new Error('it is not a file')
  } catch (error) {
    throw new QkError('ERR_FILE', `cannot open the prompts ${file}: ${(error as Error).message}`, {
      cause: error,
    })
  }
  async function* prompts(): AsyncGenerator<PlacedPrompt> {
    const lines = createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })
    let number = 0
    for await (const line of lines) {
      number += 1
      if (line.trim() === '') continue
      const where = `${file}:${number}`
      yield place(parseLine(number === 1 ? line.replace(/^\uFEFF/, '') : line, where), where, folder)
    }
  }
  return {
    [Symbol.asyncIterator]: prompts,
    summary: async (signal) => {
      const found = await summarise(prompts(), signal)
      const hash = createHash('sha256')
      for await (const chunk of createReadStream(file)) hash.update(chunk)
      if (found.prompts === 0) throw new QkError('ERR_PROMPT', `${file} holds no prompts`)
      return { source: file, sha256: hash.digest('hex'), ...found }
    },
  }
}

/** Prompts given as objects; the iterable is gone through twice. */
export function promptSet(prompts: Prompts): PromptSet {
  if ('summary' in prompts) return prompts
  async function* placed(): AsyncGenerator<PlacedPrompt> {
    let index = 0
    for (const prompt of prompts as Iterable<Prompt>) {
      const where = `prompt ${prompt?.id ?? index}`
      index += 1
      yield place(prompt, where, '.')
    }
  }
  return {
    [Symbol.asyncIterator]: placed,
    summary: async (signal) => {
      const hash = createHash('sha256')
      const found = await summarise(placed(), signal, (prompt) => hash.update(`${JSON.stringify(prompt)}\n`))
      if (found.prompts === 0) throw new QkError('ERR_PROMPT', 'the prompt set is empty')
      return { source: 'memory', sha256: hash.digest('hex'), ...found }
    },
  }
}

function place(prompt: Prompt, where: string, folder: string): PlacedPrompt {
  return { prompt, rules: promptRules(prompt, where), where, folder }
}

function parseLine(line: string, where: string): Prompt {
  try {
    return JSON.parse(line)
  } catch (error) {
    throw new QkError('ERR_PROMPT', `${where}: not JSON: ${(error as Error).message}`, {
      hint: 'A prompt set has one JSON object a line.',
      cause: error,
    })
  }
}

async function summarise(
  prompts: AsyncIterable<PlacedPrompt>,
  signal: AbortSignal | undefined,
  visit?: (prompt: Prompt) => void,
): Promise<Pick<PromptSetSummary, 'prompts' | 'contrasts' | 'definitions'>> {
  const definitions = new Map<string, ContrastDefinition>()
  let count = 0
  for await (const { prompt, rules } of prompts) {
    if (signal?.aborted) break
    for (const { contrast, labels, counterfactual } of rules) {
      const known = definitions.get(contrast)
      if (known) known.prompts += 1
      else {
        const rule = labels ? 'labels' : counterfactual ? 'counterfactual' : 'terms'
        definitions.set(contrast, { rule, prompts: 1, example: withoutTensors(prompt) })
      }
    }
    visit?.(prompt)
    count += 1
  }
  return {
    prompts: count,
    contrasts: [...definitions.keys()],
    definitions: Object.fromEntries(definitions),
  }
}

function withoutTensors({ inputs, counterfactual, ...rest }: Prompt): Prompt {
  const { inputs: _, ...other } = counterfactual ?? {}
  return counterfactual ? { ...rest, counterfactual: other } : rest
}
