/**
 * Binding prompts (paper, figures 8 and 9): objects in boxes, and a question in either direction.
 *
 *   The apple is in Box O, the pear is in Box A. Which box is the pear in? Box     (box-of-object)
 *   The apple is in Box O, the pear is in Box A. What is in Box A? The             (object-of-box)
 *
 * The query is the last token; keys are the tokens of what could be answered: the boxes' letters in the first
 * direction, the objects in the second, each at its last token where the tokenizer splits it.
 */

import { QkError } from '../../errors.js'
import { type Random, seededRandom } from '../../math/random.js'
import { checkInteger, checkOptions, checkSeed } from '../../validate.js'
import type { Position, Prompt, Term } from '../prompt.js'
import { checkAsked, checkFamilyOptions, checkWords, lastTokenOf } from './checks.js'

/** The question: which box an object is in, or which object is in a box. */
export type BoxesQuestion = 'box-of-object' | 'object-of-box'

/** Options of prompts about objects in boxes (arXiv 2602.04752, binding). */
export interface BoxesOptions {
  /** Objects to draw from: different words, each on one line. */
  objects: readonly string[]
  /** Names of boxes to draw from: different words, each on one line. */
  boxes: readonly string[]
  /** Objects in a prompt, each in a box of its own; at least 2, default 5. */
  pairs?: number
  /** Number of prompts. */
  prompts: number
  /** Seed of all random choices. */
  seed: number
  /** Direction of the question; default `box-of-object`. */
  question?: BoxesQuestion
  /**
   * Objects in questions (boxes, in the other direction); default all. If given, every prompt contains exactly one of
   * them, and counterfactuals replace it by another word.
   */
  asked?: readonly string[]
}

interface Scene {
  objects: string[]
  boxes: string[]
  /** Index of the pair in the question. */
  asked: number
}

type Span = [start: number, end: number]

/** A prompt's text, with the spans of the list's words, in UTF-16 units. */
interface Layout {
  text: string
  objects: Span[]
  boxes: Span[]
}

/** The prompt's text, which ends before the answer. `asked` is an object or a box. */
export function boxesText(
  objects: readonly string[],
  boxes: readonly string[],
  asked: string,
  question: BoxesQuestion = 'box-of-object',
): string {
  return layOut(objects, boxes, asked, question).text
}

/**
 * *Order*: the answer's token against the other tokens of its kind in the same prompt. The pair in the question has
 * every position equally often. One contrast, `order`. Errors: ERR_ARGUMENT.
 */
export function boxesOrder(options: BoxesOptions): Prompt[] {
  const question = directionOf(options)
  const noun = answerNoun(question)
  return scenes(options, question).map(({ objects, boxes, asked }, i) => {
    const { text, keys } = run(objects, boxes, asked, question)
    return {
      id: `order-${i}`,
      contrast: 'order',
      keyNames: { positive: `the answer’s ${noun}`, negative: `another ${noun}` },
      text,
      terms: [
        {
          query: -1,
          positive: [keys[asked]],
          negative: keys.filter((_, j) => j !== asked),
          label: ordinal(asked),
          negativeLabels: keys.map((_, j) => ordinal(j)).filter((_, j) => j !== asked),
        },
      ],
    }
  })
}

/** The position `index`, counted from 0, in words: 1st, 2nd, 3rd, 4th, 11th, 21st. */
function ordinal(index: number): string {
  const place = index + 1
  const teen = Math.floor((place % 100) / 10) === 1
  return `${place}${(teen ? undefined : ['th', 'st', 'nd', 'rd'][place % 10]) ?? 'th'}`
}

/** What a lexical counterfactual changes: the word in the list and in the question, or only in the question. */
export type LexicalChange = 'text and question' | 'question'

/**
 * *Lexical*: the word in the question against a word that the prompt does not use. The second run has the new word in
 * its place, in the list and in the question. The key is the answer's token in both runs. Contrast `name`, and with
 * `asked` also `"<name> <word>"` for the word of each prompt. With the change `question` the contrast is that of
 * `boxesUnused`.
 *
 * In the direction `object-of-box` of a causal model, the key comes before the changed word, so only the query
 * differs.
 *
 * Errors: ERR_ARGUMENT.
 */
export function boxesLexical(
  options: BoxesOptions,
  change: LexicalChange = 'text and question',
  name = 'lexical',
): Prompt[] {
  const question = directionOf(options)
  const cues = cuesOf(options, question)
  const random = seededRandom(options.seed + 1)
  const noun = answerNoun(question)
  const keyNames = { positive: `the answer’s ${noun}`, negative: `the same ${noun} in the changed prompt` }
  const words = options.asked ?? cues
  const others = cues.filter((word) => !options.asked?.includes(word))
  return scenes(options, question, 1).map(({ objects, boxes, asked }, i) => {
    const listed = question === 'box-of-object' ? objects : boxes
    const word = listed[asked]
    const replacement = random.pick(others.filter((other) => !listed.includes(other)))
    const replaced = (list: string[]) =>
      change === 'question' || list !== listed ? list : list.map((w, j) => (j === asked ? replacement : w))
    const here = run(objects, boxes, asked, question)
    const there = run(replaced(objects), replaced(boxes), asked, question, replacement)
    const positive: Term[] = [{ query: -1, positive: [here.keys[asked]], label: word }]
    const negative: Term[] = [{ query: -1, negative: [there.keys[asked]], label: replacement }]
    const names = words.length < cues.length ? [name, `${name} ${word}`] : [name]
    const rules = (terms: Term[], own?: object) =>
      Object.fromEntries(names.map((n) => [n, { ...own, terms }]))
    return {
      id: `${name}-${i}`,
      text: here.text,
      contrasts: rules(positive, { keyNames }),
      counterfactual: { text: there.text, contrasts: rules(negative) },
    }
  })
}

/**
 * *Queried from unused*: the second run has the same list, but its question names a word that is not in the list. Its
 * query then looks for a word that no key carries. The contrast shows how much a key gains by carrying the word in the
 * question. Contrasts as in `boxesLexical`. Errors: ERR_ARGUMENT.
 */
export function boxesUnused(options: BoxesOptions, name = 'unused'): Prompt[] {
  return boxesLexical(options, 'question', name)
}

/** The text of one run and the positions of its keys, one per pair. */
function run(
  objects: readonly string[],
  boxes: readonly string[],
  asked: number,
  question: BoxesQuestion,
  word = (question === 'box-of-object' ? objects : boxes)[asked],
): { text: string; keys: Position[] } {
  const layout = layOut(objects, boxes, word, question)
  const spans = question === 'box-of-object' ? layout.boxes : layout.objects
  return { text: layout.text, keys: spans.map(lastTokenOf) }
}

function layOut(
  objects: readonly string[],
  boxes: readonly string[],
  asked: string,
  question: BoxesQuestion,
): Layout {
  let text = ''
  const put = (word: string): Span => {
    text += word
    return [text.length - word.length, text.length]
  }
  const layout: Omit<Layout, 'text'> = { objects: [], boxes: [] }
  objects.forEach((object, i) => {
    text += i === 0 ? 'The ' : ', the '
    layout.objects.push(put(object))
    text += ' is in Box '
    layout.boxes.push(put(boxes[i]))
  })
  text +=
    question === 'box-of-object' ? `. Which box is the ${asked} in? Box` : `. What is in Box ${asked}? The`
  return { text, ...layout }
}

function directionOf(options: BoxesOptions): BoxesQuestion {
  checkFamilyOptions(options, 'boxes')
  const { question = 'box-of-object' } = options
  if (question === 'box-of-object' || question === 'object-of-box') {
    return question
  }
  throw new QkError('ERR_ARGUMENT', `there is no question "${question}"`, {
    hint: 'Use box-of-object or object-of-box.',
  })
}

const answerNoun = (question: BoxesQuestion) => (question === 'box-of-object' ? 'box' : 'object')

/** The words that questions can name. */
function cuesOf({ objects, boxes }: BoxesOptions, question: BoxesQuestion): readonly string[] {
  return question === 'box-of-object' ? objects : boxes
}

/** `categories` is accepted and ignored, so that options can be `{ ...bundledWords(), ... }`. */
const OPTIONS = {
  objects: true,
  boxes: true,
  categories: true,
  pairs: true,
  prompts: true,
  seed: true,
  question: true,
  asked: true,
} satisfies Record<keyof BoxesOptions | 'categories', true>
/** Every prompt reserves `spare` unused words, which can replace the word in the question. */
function scenes(options: BoxesOptions, question: BoxesQuestion, spare = 0): Scene[] {
  checkOptions(options, OPTIONS, 'a family of boxes')
  const { objects, boxes, pairs = 5, prompts, seed, asked } = options
  checkWords(objects, 'objects')
  checkWords(boxes, 'boxes')
  checkInteger(pairs, 'pairs', 2)
  checkInteger(prompts, 'prompts', 1)
  checkSeed(seed)
  const direct = question === 'box-of-object'
  const [cues, answers] = direct ? [objects, boxes] : [boxes, objects]
  const [cueName, answerName] = direct ? ['objects', 'boxes'] : ['boxes', 'objects']
  checkAsked(asked, cues, cueName)
  const fillers = asked ? cues.filter((word) => !asked.includes(word)) : cues.slice(1)
  needWords(fillers.length, pairs - 1 + spare, `${cueName} beside the one that is asked about`, pairs)
  needWords(answers.length, pairs, answerName, pairs)
  const random = seededRandom(seed)
  return Array.from({ length: prompts }, (_, i) => {
    const scene = drawScene(random, cues, answers, pairs, i % pairs, asked)
    return direct
      ? { objects: scene.cues, boxes: scene.answers, asked: i % pairs }
      : { objects: scene.answers, boxes: scene.cues, asked: i % pairs }
  })
}

function needWords(found: number, needed: number, what: string, pairs: number): void {
  if (found >= needed) {
    return
  }
  throw new QkError('ERR_ARGUMENT', `${pairs} pairs need ${needed} ${what}, and there are ${found}`, {
    hint: 'Give more words, or ask for fewer pairs.',
  })
}

function drawScene(
  random: Random,
  cues: readonly string[],
  answers: readonly string[],
  pairs: number,
  place: number,
  asked: readonly string[] | undefined,
): { cues: string[]; answers: string[] } {
  const word = random.pick(asked ?? cues)
  const listed = random.sample(
    cues.filter((cue) => cue !== word && !asked?.includes(cue)),
    pairs - 1,
  )
  listed.splice(place, 0, word)
  return { cues: listed, answers: random.sample(answers, pairs) }
}
