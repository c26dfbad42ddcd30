/** Prompt sets: JSONL files read line by line, or any iterable of prompts. */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import path from 'node:path'
import { QkError, throwIfAborted } from '../errors.js'
import { checkRegularFile } from '../store/reading/regular-file.js'
import { checkFlag, checkOptions } from '../validate.js'
import { tokenIds } from './check-source.js'
import { linesOf } from './lines.js'
import type { Located } from './positions.js'
import type { Prompt, TermRule } from './prompt.js'
import { promptRules } from './prompt-rules.js'
import { promptLine } from './write-prompts.js'

/** A prompt with its rules by contrast, and its place for messages. */
export interface PlacedPrompt {
  prompt: Prompt
  rules: TermRule[]
  where: string
  /** The unit of exchange in tests: the prompt's `group`, or else its id, or else its index in the set. */
  unit: string
  /** Folder against which relative file names in the prompt are resolved. */
  folder: string
  /** Called with every encoded text. */
  onEncoded?: (located: Located, where: string) => void
}

/** The definition of a contrast, as stored in results. */
export interface ContrastDefinition {
  /** How the contrast is defined. */
  rule: 'terms' | 'counterfactual' | 'labels'
  /** Number of prompts with this contrast. */
  prompts: number
  /** Number of explicit terms. */
  terms: number
  /** Positions with a label. */
  labelled: {
    /** Positions with a label on the query side. */
    queries: number
    /** Positions with a label on the key side. */
    keys: number
  }
  /** The first prompt with this contrast: its text or tokens, and its rule. */
  example: Pick<Prompt, 'id' | 'text' | 'pair'> & {
    /** Token ids, if the prompt is given as tokens. */
    tokens?: readonly number[]
    /** Its rule, with both halves of every term. */
    rule: TermRule
  }
}

/** Content of a prompt set, after one pass that reads and checks it. */
export interface PromptSetSummary {
  /** Path as given, or `memory`. */
  source: string
  /** SHA-256 of the file, or of the prompts as JSON lines. */
  sha256: string
  /** Number of prompts. */
  prompts: number
  /** Names, in order of first appearance. */
  contrasts: string[]
  /** How each contrast is defined, by its name. */
  definitions: Record<string, ContrastDefinition>
}

/** An iterable of prompts that can be read any number of times. */
export interface PromptSet extends AsyncIterable<PlacedPrompt> {
  /** Reads and checks the whole set once. Errors: ERR_PROMPT with the line's number, ERR_EMPTY_SET. */
  summary(signal?: AbortSignal): Promise<PromptSetSummary>
}

/** A prompt set from `readPrompts`, or prompts in memory. */
export type Prompts = PromptSet | Iterable<Prompt>

/** How strictly a prompt set is read. */
export interface PromptSetOptions {
  /** Accepts prompts without a contrast, for roles that are derived from tokens; default false. */
  bare?: boolean
}

const OPTIONS = { bare: true } satisfies Record<keyof PromptSetOptions, true>

/** A JSONL file as a prompt set; nothing is read until it is used. Errors: ERR_FILE. */
export function readPrompts(file: string, options: PromptSetOptions = {}): PromptSet {
  const bare = isBare(options, 'readPrompts')
  if (typeof file !== 'string') {
    throw new QkError('ERR_TYPE', 'readPrompts takes the path of a JSONL file')
  }
  // A set is read more than once, so it must be a regular file.
  checkRegularFile(file, 'the prompts')
  return jsonlSet({ name: file, folder: path.dirname(file), open: () => createReadStream(file) }, bare)
}

/** Name of a prompt set from standard input. */
export const STANDARD_INPUT = 'standard input'

/** A prompt set from standard input. Its relative `.npy` file names start from the current folder. */
export function promptsFromInput(bytes: Uint8Array, options: PromptSetOptions = {}): PromptSet {
  const bare = isBare(options, 'promptsFromInput')
  async function* chunks() {
    yield bytes
  }
  return jsonlSet({ name: STANDARD_INPUT, folder: '.', open: chunks }, bare)
}

/** A source of JSONL; every call of `open` gives its bytes from the beginning. */
interface JsonlSource {
  name: string
  folder: string
  open: () => AsyncIterable<Uint8Array>
}

function jsonlSet({ name, folder, open }: JsonlSource, bare: boolean): PromptSet {
  async function* prompts(from: JsonlSource['open']): AsyncGenerator<PlacedPrompt> {
    let number = 0
    let index = 0
    for await (const line of linesOf(from(), name)) {
      number += 1
      if (line.trim() === '') {
        continue
      }
      const where = `${name}:${number}`
      yield place(parseLine(line, where), where, folder, index, bare)
      index += 1
    }
  }
  return {
    [Symbol.asyncIterator]: () => prompts(open),
    summary: async (signal) => {
      const hash = createHash('sha256')
      async function* hashed() {
        for await (const chunk of open()) {
          hash.update(chunk)
          yield chunk
        }
      }
      const found = await summarise(prompts(hashed), signal)
      if (found.prompts === 0) {
        throw new QkError('ERR_PROMPT', `${name} holds no prompts`)
      }
      return { source: name, sha256: hash.digest('hex'), ...found }
    },
  }
}

/** A prompt set from prompt objects, which are iterated over twice. Errors: ERR_TYPE. */
export function promptSet(prompts: Prompts, options: PromptSetOptions = {}): PromptSet {
  const bare = isBare(options, 'promptSet')
  if (typeof prompts === 'object' && 'summary' in prompts) {
    return prompts
  }
  if (typeof prompts === 'string' || typeof prompts?.[Symbol.iterator] !== 'function') {
    throw new QkError(
      'ERR_TYPE',
      'prompts are an iterable of prompt objects, or what readPrompts(file) returns',
    )
  }
  // A generator can be iterated over only once.
  const once = (prompts[Symbol.iterator]() as unknown) === prompts
  const list = once ? [...prompts] : prompts
  async function* placed(): AsyncGenerator<PlacedPrompt> {
    let index = 0
    for (const prompt of list) {
      const where = `prompt ${prompt?.id ?? index}`
      yield place(prompt, where, '.', index, bare)
      index += 1
    }
  }
  return {
    [Symbol.asyncIterator]: placed,
    summary: async (signal) => {
      const hash = createHash('sha256')
      const found = await summarise(placed(), signal, (prompt) => hash.update(`${promptLine(prompt)}\n`))
      if (found.prompts === 0) {
        throw new QkError('ERR_PROMPT', 'the prompt set is empty')
      }
      return { source: 'memory', sha256: hash.digest('hex'), ...found }
    },
  }
}

function isBare(options: PromptSetOptions, what: string): boolean {
  checkOptions(options, OPTIONS, what)
  return checkFlag(options.bare ?? false, 'bare')
}

function place(prompt: Prompt, where: string, folder: string, index: number, bare: boolean): PlacedPrompt {
  const rules = promptRules(prompt, where, bare)
  return { prompt, rules, where, unit: prompt.group ?? prompt.id ?? `#${index}`, folder }
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

/** Counts prompts and contrasts, and takes an example of each. */
export async function summarise(
  prompts: AsyncIterable<PlacedPrompt>,
  signal: AbortSignal | undefined,
  visit?: (prompt: Prompt) => void,
): Promise<Pick<PromptSetSummary, 'prompts' | 'contrasts' | 'definitions'>> {
  const definitions = new Map<string, ContrastDefinition>()
  let count = 0
  for await (const { prompt, rules } of prompts) {
    throwIfAborted(signal)
    const { id, text, pair } = prompt
    const tokens = prompt.tokens && tokenIds(prompt.tokens)
    for (const rule of rules) {
      const { terms, labelled } = countsOf(rule)
      const known = definitions.get(rule.contrast)
      if (known) {
        known.prompts += 1
        known.terms += terms
        known.labelled.queries += labelled.queries
        known.labelled.keys += labelled.keys
      } else {
        const example = { id, text, ...(pair !== undefined && { pair }), tokens, rule }
        definitions.set(rule.contrast, { rule: kindOf(rule), prompts: 1, terms, labelled, example })
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

/** Contribution of a prompt's rule to the counts of its contrast. */
function countsOf({ terms, labels }: TermRule): Pick<ContrastDefinition, 'terms' | 'labelled'> {
  const labelled = (list: readonly unknown[] = []) => list.filter((label) => label !== null).length
  return {
    terms: terms?.length ?? 0,
    labelled: { queries: labelled(labels?.query), keys: labelled(labels?.key ?? labels?.query) },
  }
}

function kindOf({ labels, counterfactual }: TermRule): ContrastDefinition['rule'] {
  if (labels) {
    return 'labels'
  }
  return counterfactual ? 'counterfactual' : 'terms'
}
