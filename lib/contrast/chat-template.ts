/**
 * Renders chat templates of `tokenizer_config.json` (Jinja, by @huggingface/jinja). The start token that the tokenizer
 * adds by itself is not written twice.
 */

import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Environment, Interpreter, Template } from '@huggingface/jinja'
import { QkError } from '../errors.js'
import { loadTokenizer, type PromptTokenizer } from '../model/tokenizer/tokenizer.js'
import { checkOptions, kindOf } from '../validate.js'
import { formatTime } from './format-time.js'

/** One message of a chat. */
export interface ChatMessage {
  /** Role of the speaker: `system`, `user` or `assistant`, or another role that the template knows. */
  role: string
  /** The text of the message. */
  content: string
}

/** The part of a `tokenizer_config.json` that templates need; further fields are ignored. */
export interface TokenizerConfig {
  /** One template, or several by name, of which `default` is used. */
  chat_template?:
    | string
    | {
        /** Name of the template, as in `default`. */
        name: string
        /** The template's text, in Jinja. */
        template: string
      }[]
    | null
  /** Whether the tokenizer adds `bos_token` to the front of every text. Used only if no tokenizer is given. */
  add_bos_token?: boolean | null
  /** `bos_token`, `eos_token` and similar entries: the token's text, or an object with its `content`. */
  [key: string]: unknown
}

/** Options for rendering a chat as one text. */
export interface ChatTemplateOptions {
  /** Whether the text ends with the opening of the assistant's answer; default true. */
  addGenerationPrompt?: boolean
  /** Path of the `tokenizer.json`, or `model.tokenizer`. It shows which start token the tokenizer adds by itself. */
  tokenizer?: string | PromptTokenizer
  /** Further variables of the template. */
  variables?: Record<string, unknown>
  /**
   * The current date for templates that print it, in UTC. The default is 26 July 2024, which Llama's templates use
   * too, so that prompts are the same every day.
   */
  date?: Date
}

const OPTIONS = {
  addGenerationPrompt: true,
  tokenizer: true,
  variables: true,
  date: true,
} satisfies Record<keyof ChatTemplateOptions, true>

/**
 * Reads a `tokenizer_config.json`. If it has no template, a `chat_template.jinja` beside it is used. Errors: ERR_FILE,
 * ERR_FORMAT.
 */
export function readTokenizerConfig(file: string): TokenizerConfig {
  const text = readText(file)
  let config: TokenizerConfig
  try {
    config = JSON.parse(text)
    if (typeof config !== 'object' || config === null || Array.isArray(config)) {
      throw new Error('no object')
    }
  } catch (error) {
    throw new QkError('ERR_FORMAT', `${file} is not a tokenizer_config.json: ${(error as Error).message}`, {
      cause: error,
    })
  }
  const beside = path.join(path.dirname(file), 'chat_template.jinja')
  if (config.chat_template == null && existsSync(beside)) {
    return { ...config, chat_template: readText(beside) }
  }
  return config
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new QkError('ERR_FILE', `cannot open ${file}: ${(error as Error).message}`, { cause: error })
  }
}

/**
 * Renders the messages as text in the form that the model expects. If the text starts with the start token that the
 * tokenizer adds by itself, that token is removed. Without a tokenizer, the configuration's `add_bos_token` says
 * whether it adds one.
 *
 * Errors: ERR_TEMPLATE if there is no template, it cannot be parsed, or it refuses the messages; ERR_TOKENIZER if it
 * is not known whether the tokenizer adds the start token; ERR_FILE.
 */
export async function applyChatTemplate(
  config: TokenizerConfig,
  messages: readonly ChatMessage[],
  options: ChatTemplateOptions = {},
): Promise<string> {
  checkOptions(options, OPTIONS, 'applyChatTemplate')
  return (await chatRenderer(config, options))(messages)
}

/** Compiles a template once for many conversations; errors as in `applyChatTemplate`. */
export async function chatRenderer(
  config: TokenizerConfig,
  options: ChatTemplateOptions,
): Promise<(messages: readonly ChatMessage[]) => string> {
  if (typeof config !== 'object' || config === null) {
    throw new QkError('ERR_TYPE', `a tokenizer configuration is an object, got ${kindOf(config)}`, {
      hint: 'readTokenizerConfig reads it from its file.',
    })
  }
  const { addGenerationPrompt = true, variables = {}, date } = options
  const template = compile(templateOf(config))
  const tokens = specialTokens(config)
  const start = await startTokens(config, tokens.bos_token, options.tokenizer)
  return (messages) => {
    const text = render(template, {
      ...globals(date),
      ...tokens,
      messages,
      add_generation_prompt: addGenerationPrompt,
      ...variables,
    })
    if (start !== undefined) {
      return withoutStart(text, start)
    }
    if (!text.startsWith(tokens.bos_token)) {
      return text
    }
    throw new QkError(
      'ERR_TOKENIZER',
      `the chat template starts with ${tokens.bos_token}, and it is not known whether the tokenizer adds it too`,
      { hint: 'Give the tokenizer.json, or "add_bos_token" in the configuration.' },
    )
  }
}

/**
 * The tokens that the tokenizer adds to the front of every text. Undefined if they are not known. Encoding a single
 * letter separates them from tokens added at the end.
 */
async function startTokens(
  { add_bos_token: adds }: TokenizerConfig,
  bos: string | undefined,
  tokenizer: ChatTemplateOptions['tokenizer'],
): Promise<string[] | undefined> {
  if (tokenizer === undefined) {
    if (bos === undefined || adds === false) {
      return []
    }
    return adds === true ? [bos] : undefined
  }
  const loaded = typeof tokenizer === 'string' ? await loadTokenizer(tokenizer) : tokenizer
  const { ids, special } = await loaded.encode('a')
  const own = special.indexOf(false)
  return ids.slice(0, own < 0 ? ids.length : own).map((id) => loaded.token(id))
}

/** Removes the template's start tokens if the tokenizer adds the same ones. */
function withoutStart(text: string, start: readonly string[]): string {
  for (let i = 0; i < start.length; i++) {
    const written = start.slice(i).join('')
    if (text.startsWith(written)) {
      return text.slice(written.length)
    }
  }
  return text
}

function templateOf({ chat_template: given }: TokenizerConfig): string {
  if (typeof given === 'string') {
    return given
  }
  if (Array.isArray(given)) {
    const wrong = given.findIndex((own) => typeof own?.name !== 'string' || typeof own.template !== 'string')
    if (wrong >= 0) {
      throw new QkError(
        'ERR_TEMPLATE',
        `chat_template[${wrong}] of the tokenizer configuration is ${kindOf(given[wrong])}, expected a name and a template`,
      )
    }
    const found = given.find(({ name }) => name === 'default')
    if (found) {
      return found.template
    }
    const names = given.map(({ name }) => name).join(', ')
    throw new QkError('ERR_TEMPLATE', `no chat template is called default; there are ${names}`, {
      hint: 'Give the configuration with the one that you want as its "chat_template".',
    })
  }
  throw new QkError('ERR_TEMPLATE', 'the tokenizer configuration has no chat_template', {
    hint: 'Base models have none; take the configuration of the model that was tuned to chat.',
  })
}

function compile(text: string): Template {
  try {
    return new Template(text)
  } catch (error) {
    throw new QkError('ERR_TEMPLATE', `the chat template is not understood: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

function render(template: Template, variables: Record<string, unknown>): string {
  const environment = new Environment()
  try {
    for (const [name, value] of Object.entries(variables)) {
      environment.set(name, value)
    }
    const text: unknown = new Interpreter(environment).run(template.parsed).value
    return String(text)
  } catch (error) {
    throw new QkError('ERR_TEMPLATE', `the chat template failed: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/** Globals that Python gives to every template; the caller gives the date. */
function globals(date = new Date(Date.UTC(2024, 6, 26))): Record<string, unknown> {
  return {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    raise_exception: (message: string) => {
      throw new Error(message)
    },
    range: (...bounds: number[]) => {
      const [start, stop, step] = bounds.length === 1 ? [0, bounds[0], 1] : [...bounds, 1]
      const length = Math.max(0, Math.ceil((stop - start) / step))
      return Array.from({ length }, (_, i) => start + i * step)
    },
    strftime_now: (format: string) => formatTime(date, format),
  }
}

/** The configuration's `..._token` entries as text. */
function specialTokens(config: TokenizerConfig): Record<string, string> {
  const tokens: Record<string, string> = {}
  for (const [key, value] of Object.entries(config)) {
    const text = typeof value === 'object' ? (value as { content?: unknown } | null)?.content : value
    if (/^\w+_token$/.test(key) && typeof text === 'string') {
      tokens[key] = text
    }
  }
  return tokens
}
