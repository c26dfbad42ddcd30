/**
 * Binding prompts (paper, figures 8 and 9): "The apple is in Box O, the pear is in Box A. Which box is the
 * pear in? Box".
 */

import { type Random, seededRandom } from '../../random.js'
import type { Position, Prompt, Term } from '../prompt.js'

export interface BoxesOptions {
  objects: readonly string[]
  boxes: readonly string[]
  /** Objects in a prompt; default 5. */
  pairs?: number
  prompts: number
  seed: number
  /** Words that are asked about; default all objects. */
  asked?: readonly string[]
}

interface Scene {
  objects: string[]
  boxes: string[]
  /** Index of the object that is asked about. */
  asked: number
}

/** The prompt's text, which ends where the answer would come. */
export function boxesText(objects: readonly string[], boxes: readonly string[], question: string): string {
  const clauses = objects.map((object, i) => `${i === 0 ? 'The' : 'the'} ${object} is in Box ${boxes[i]}`)
  return `${clauses.join(', ')}. Which box is the ${question} in? Box`
}

/**
 * *Order*: the answer's box against the other boxes of the same prompt, seen from the last token. The
 * object that is asked about stands at every place equally often.
 */
export function boxesOrder(options: BoxesOptions): Prompt[] {
  return scenes(options).map(({ objects, boxes, asked }, i) => ({
    id: `order-${i}`,
    contrast: 'order',
    text: boxesText(objects, boxes, objects[asked]),
    terms: [
      {
        query: -1,
        positive: [boxToken(boxes[asked])],
        negative: boxes.filter((_, j) => j !== asked).map(boxToken),
      },
    ],
  }))
}

/** What a lexical counterfactual changes: the object in the list and in the question, or in the question only. */
export type LexicalChange = 'text and question' | 'question'

/**
 * *Lexical* (`text and question`): the object that is asked about against one that the prompt does not
 * otherwise use, put in its place in a second run. With `question` only the question changes, so that the
 * query looks for a word that no box holds. Each prompt also feeds the contrast of its own word,
 * "<name> <word>".
 */
export function boxesLexical(options: BoxesOptions, change: LexicalChange, name: string): Prompt[] {
  const random = seededRandom(options.seed + 1)
  const words = options.asked ?? options.objects
  const others = options.objects.filter((o) => !options.asked?.includes(o))
  return scenes(options).map(({ objects, boxes, asked }, i) => {
    const word = objects[asked]
    const replacement = random.pick(others.filter((o) => !objects.includes(o)))
    const changed = change === 'question' ? objects : objects.map((o, j) => (j === asked ? replacement : o))
    const box = boxToken(boxes[asked])
    const positive: Term[] = [{ query: -1, positive: [box] }]
    const negative: Term[] = [{ query: -1, negative: [box] }]
    const names = words.length < options.objects.length ? [name, `${name} ${word}`] : [name]
    const rules = (terms: Term[]) => Object.fromEntries(names.map((n) => [n, { terms }]))
    return {
      id: `${name}-${i}`,
      text: boxesText(objects, boxes, word),
      contrasts: rules(positive),
      counterfactual: { text: boxesText(changed, boxes, replacement), contrasts: rules(negative) },
    }
  })
}

const boxToken = (box: string): Position => ({ match: `Box ${box}`, token: 'last' })

function scenes({ objects, boxes, pairs = 5, prompts, seed, asked }: BoxesOptions): Scene[] {
  const random = seededRandom(seed)
  return Array.from({ length: prompts }, (_, i) => scene(random, objects, boxes, pairs, i % pairs, asked))
}

function scene(
  random: Random,
  objects: readonly string[],
  boxes: readonly string[],
  pairs: number,
  place: number,
  asked: readonly string[] | undefined,
): Scene {
  const word = random.pick(asked ?? objects)
  const listed = random.sample(
    objects.filter((o) => o !== word && !asked?.includes(o)),
    pairs - 1,
  )
  listed.splice(place, 0, word)
  return { objects: listed, boxes: random.sample(boxes, pairs), asked: place }
}
