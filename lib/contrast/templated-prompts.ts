/** Turns prompts into chats: their text becomes the user's message, and their positions are shifted accordingly. */

import { QkError } from '../errors.js'
import { checkOptions } from '../validate.js'
import {
  type ChatMessage,
  type ChatTemplateOptions,
  chatRenderer,
  type TokenizerConfig,
} from './chat-template.js'
import { textSpan } from './positions.js'
import type { ContrastRule, Position, Prompt, Term } from './prompt.js'
import { promptRules } from './prompt-rules.js'

/** Options for turning the texts of a prompt set into chats. */
export interface ChatPromptOptions extends Omit<ChatTemplateOptions, 'addGenerationPrompt'> {
  /** The system's message; none by default. */
  system?: string
  /**
   * Beginning of the answer. Every text must end with it. It is moved from the end of the user's message to the
   * beginning of the assistant's answer, as in "Box" for "Which box is the pear in? Box".
   */
  prefill?: string
}

const OPTIONS = {
  tokenizer: true,
  variables: true,
  date: true,
  system: true,
  prefill: true,
} satisfies Record<keyof ChatPromptOptions, true>

/**
 * The same prompts, with each text (of the counterfactuals too) as the user's message of a chat before the assistant's
 * answer. Positions given by `match` or `char` become `char` positions of the same words in the whole text. -1 stays
 * the last token, after which the answer would follow.
 *
 * Errors: those of `applyChatTemplate`; ERR_PROMPT for prompts without text, or with labels per token; ERR_ARGUMENT
 * for a text that does not end with the prefill; ERR_POSITION for other token indices; ERR_MATCH; ERR_TEMPLATE if the
 * template changes the user's text.
 */
export async function withChatTemplate(
  prompts: Iterable<Prompt>,
  config: TokenizerConfig,
  options: ChatPromptOptions = {},
): Promise<Prompt[]> {
  checkOptions(options, OPTIONS, 'withChatTemplate')
  const { system, prefill, ...rest } = options
  const render = await chatRenderer(config, { ...rest, addGenerationPrompt: true })
  const before: ChatMessage[] = system === undefined ? [] : [{ role: 'system', content: system }]
  const chat: Chat = (content) => render([...before, { role: 'user', content }])
  const edges = edgesOf(chat)
  return Array.from(prompts, (prompt, i) => {
    const where = `prompt ${prompt?.id ?? i}`
    promptRules(prompt, where)
    const { counterfactual } = prompt
    return {
      ...wrapped(prompt, chat, edges, prefill, where),
      ...(counterfactual && {
        counterfactual: wrapped(counterfactual, chat, edges, prefill, `${where}: counterfactual`),
      }),
    }
  })
}

/** Renders a chat with the given user message as text. */
type Chat = (content: string) => string

/** The template's text before and after the user's message. */
interface Edges {
  before: string
  after: string
}

/** A message that templates neither inspect nor contain. */
const MARKER = '\uE000user\uE001'

function edgesOf(chat: Chat): Edges {
  const text = chat(MARKER)
  const at = text.indexOf(MARKER)
  if (at < 0 || text.indexOf(MARKER, at + 1) >= 0) {
    throw new QkError('ERR_TEMPLATE', "the chat template does not write the user's message exactly once")
  }
  return { before: text.slice(0, at), after: text.slice(at + MARKER.length) }
}

/** A piece of the prompt's text, [from, to), that is shifted by `shift` characters in the chat. */
interface Piece {
  from: number
  to: number
  shift: number
}

type Source = { text?: string; pair?: string; contrasts?: Record<string, ContrastRule> } & ContrastRule

function wrapped<S extends Source>(
  source: S,
  chat: Chat,
  edges: Edges,
  prefill: string | undefined,
  where: string,
): S {
  if (source.text === undefined) {
    throw new QkError('ERR_PROMPT', `${where}: a chat template needs a prompt given as "text"`)
  }
  if (source.pair !== undefined) {
    throw new QkError('ERR_PROMPT', `${where}: a "pair" of texts does not go into a chat template`)
  }
  const { text } = source
  const { whole, pieces } = place(text, chat, edges, prefill, where)
  const move = (position: Position) => moved(position, text, pieces, where)
  const moveRule = ({ terms, labels }: ContrastRule): ContrastRule => {
    if (labels) {
      throw new QkError('ERR_PROMPT', `${where}: labels, one a token, do not go into a chat template`)
    }
    return { terms: terms?.map((term) => movedTerm(term, move)) }
  }
  const { contrasts } = source
  return {
    ...source,
    text: whole,
    ...(source.terms || source.labels ? moveRule(source) : {}),
    ...(contrasts && {
      contrasts: Object.fromEntries(Object.entries(contrasts).map(([name, rule]) => [name, moveRule(rule)])),
    }),
  }
}

/** The whole text of a prompt's chat, and the places of the pieces of its text. */
function place(
  text: string,
  chat: Chat,
  { before, after }: Edges,
  prefill: string | undefined,
  where: string,
): { whole: string; pieces: Piece[] } {
  const { message, opening } = cut(text, prefill, where)
  const written = chat(message)
  const inner = written.slice(before.length, written.length - after.length)
  const kept = inner.trim()
  // Templates may trim the message, but not change it otherwise.
  if (before + inner + after !== written || kept === '' || kept !== message.trim()) {
    throw new QkError('ERR_TEMPLATE', `${where}: the chat template changes the user's text`)
  }
  const from = message.indexOf(kept)
  const pieces = [{ from, to: from + kept.length, shift: before.length + inner.indexOf(kept) - from }]
  if (opening !== '') {
    const start = text.length - opening.length
    pieces.push({ from: start, to: text.length, shift: written.length - start })
  }
  return { whole: written + opening, pieces }
}

/** Splits a text into the user's part and the beginning of the answer. */
function cut(text: string, prefill: string | undefined, where: string): { message: string; opening: string } {
  if (prefill === undefined || prefill === '') {
    return { message: text, opening: '' }
  }
  if (!text.endsWith(prefill)) {
    throw new QkError('ERR_ARGUMENT', `${where}: the text does not end with ${JSON.stringify(prefill)}`, {
      hint: 'The prefill is the end of every text, where the answer begins.',
    })
  }
  return { message: text.slice(0, -prefill.length).trimEnd(), opening: prefill }
}

function movedTerm(
  { query, positive, negative, ...labels }: Term,
  move: (position: Position) => Position,
): Term {
  return {
    ...labels,
    query: move(query),
    ...(positive && { positive: positive.map(move) }),
    ...(negative && { negative: negative.map(move) }),
  }
}

function moved(position: Position, text: string, pieces: readonly Piece[], where: string): Position {
  if (typeof position === 'number') {
    if (position === -1) {
      return position
    }
    throw new QkError('ERR_POSITION', `${where}: the token ${position} is another one in a chat`, {
      hint: 'Give the position as {"match": ...} or {"char": [start, end]}; -1 stays the last token.',
    })
  }
  if (position.in === 'pair') {
    throw new QkError('ERR_POSITION', `${where}: ${JSON.stringify(position)} needs a prompt with a "pair"`)
  }
  const [start, end] = textSpan(position, text, where)
  // Space that the template trimmed is ignored.
  const found = pieces.filter(({ from, to }) => start < to && end > from)
  if (found.length !== 1) {
    throw new QkError(
      'ERR_POSITION',
      `${where}: ${JSON.stringify(text.slice(start, end))} is not in one piece in the chat`,
    )
  }
  const [{ from, to, shift }] = found
  const char: [number, number] = [Math.max(start, from) + shift, Math.min(end, to) + shift]
  return { char, ...(position.token && { token: position.token }) }
}
