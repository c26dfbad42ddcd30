/**
 * Category prompts (paper, figures 6 and 7): a bulleted list of words of several categories and a question for
 * one category, which "filter heads" answer by attending to the items that are of it.
 *
 *   Items:
 *   - apple
 *   - hammer
 *   - robin
 *   Question: which item is a fruit?
 *   Answer:
 *
 * The query is the last token; keys are the items, each at its last token where the tokenizer splits it.
 */

import { QkError } from '../../errors.js'
import { type Random, seededRandom } from '../../math/random.js'
import { checkInteger, checkOptions, checkSeed } from '../../validate.js'
import type { Prompt, Term } from '../prompt.js'
import { isContrastName } from '../prompt-rules.js'
import { checkAsked, checkFamilyOptions, checkWords, lastTokenOf } from './checks.js'

/** What the question asks for: all items of a category, or the first or the last of them. */
export type CategorySelect = 'all' | 'first' | 'last'

/** Options of prompts about items of a category (arXiv 2602.04752, filter heads). */
export interface CategoriesOptions {
  /** Words by category; a category's name is the noun of the question, and the name of its contrast. */
  categories: Readonly<Record<string, readonly string[]>>
  /** What the question asks for; default `all`. */
  select?: CategorySelect
  /** Items in a list; default 6. The bundled transformer was trained on 3 to 8. */
  items?: number
  /**
   * How many of them are of the category that is asked for; default 1 for `all`, which is what the bundled
   * transformer knows, and 2 for `first` and `last`.
   */
  matching?: number
  /** Number of prompts. */
  prompts: number
  /** Seed of all random choices. */
  seed: number
  /** Categories in questions; default all of them. */
  asked?: readonly string[]
  /** Whether all categories also feed one contrast, `category`; default true. */
  pooled?: boolean
  /**
   * Wording: `{items}` becomes the list, one "- word" a line; `{category}` the category's name; `{article}` "a"
   * or "an", as the name's first letter asks. It ends where the answer would come.
   */
  template?: string
}

const QUESTIONS = {
  one: 'which item is {article} {category}?',
  all: 'which items are of the category {category}?',
  first: 'which item is the first {category}?',
  last: 'which item is the last {category}?',
} as const

/** The wording of a selection. */
export function categoryTemplate(select: CategorySelect, matching: number): string {
  const question = QUESTIONS[select === 'all' && matching === 1 ? 'one' : select]
  return `Items:\n{items}\nQuestion: ${question}\nAnswer:`
}

/**
 * Prompts with one contrast per category, named after it: the items of the requested category against all other items
 * of the same list. With `pooled`, the contrast `category` holds the terms of all categories. For `first` and `last`
 * there is another contrast of that name: the requested item against the other items of its category, which differ
 * only in position. Questions go through the categories in turn. With one matching item, it has every position equally
 * often.
 *
 * Errors: ERR_ARGUMENT.
 */
export function categoryPrompts(options: CategoriesOptions): Prompt[] {
  checkFamilyOptions(options, 'categories')
  const { categories, select, items, matching, prompts, seed, asked, pooled, template } = settle(options)
  const random = seededRandom(seed)
  const lay = layoutOf(template)
  return Array.from({ length: prompts }, (_, i) => {
    const category = asked[i % asked.length]
    const places =
      matching === 1
        ? [Math.floor(i / asked.length) % items]
        : random.sample([...Array(items).keys()], matching).sort((a, b) => a - b)
    const words = drawList(random, categories, category, items, places)
    const { text, spans } = lay(words, category)
    const keys = spans.map(lastTokenOf)
    const at = (wanted: readonly number[]) => wanted.map((place) => keys[place])
    const others = [...keys.keys()].filter((place) => !places.includes(place))
    const terms: Term[] = [
      {
        query: -1,
        positive: at(places),
        negative: at(others),
        label: category,
        negativeLabels: others.map((place) => categoryOf(categories, words[place])),
      },
    ]
    const contrasts: Prompt['contrasts'] = { [category]: { keyNames: OF_CATEGORY, terms } }
    if (pooled) {
      contrasts[POOLED] = { keyNames: OF_CATEGORY, terms }
    }
    if (select !== 'all') {
      const wanted = select === 'first' ? places[0] : places[matching - 1]
      const rest = places.filter((place) => place !== wanted)
      const negativeLabels = rest.map(() => category)
      contrasts[select] = {
        keyNames: OF_PLACE,
        terms: [{ query: -1, positive: at([wanted]), negative: at(rest), label: category, negativeLabels }],
      }
    }
    return { id: `category-${i}`, contrasts, text }
  })
}

const OF_CATEGORY = { positive: 'the items of the category', negative: 'another item' }
const OF_PLACE = { positive: 'the wanted item', negative: 'another item of its category' }

/** Contrast of all categories together. */
const POOLED = 'category'

/** A list with words of the category at `places`, and other words elsewhere. */
function drawList(
  random: Random,
  categories: CategoriesOptions['categories'],
  category: string,
  items: number,
  places: readonly number[],
): string[] {
  const own = random.sample(categories[category], places.length)
  const list = random.sample(outside(categories, category), items - places.length)
  places.forEach((place, i) => {
    list.splice(place, 0, own[i])
  })
  return list
}

/** The first category that contains the word. */
function categoryOf(categories: CategoriesOptions['categories'], word: string): string {
  return Object.keys(categories).find((name) => categories[name].includes(word))!
}

/** The words of other categories that do not belong to this one. */
function outside(categories: CategoriesOptions['categories'], category: string): string[] {
  const all = new Set(Object.values(categories).flat())
  for (const word of categories[category]) {
    all.delete(word)
  }
  return [...all]
}

type Layout = { text: string; spans: [start: number, end: number][] }

function layoutOf(template: string): (words: readonly string[], category: string) => Layout {
  const pieces = template.split(/(\{items\}|\{category\}|\{article\})/)
  for (const [piece, most] of [
    ['{items}', 1],
    ['{category}', Number.POSITIVE_INFINITY],
  ] as const) {
    const found = pieces.filter((p) => p === piece).length
    if (found < 1 || found > most) {
      throw new QkError('ERR_ARGUMENT', `the template has ${piece} ${found} times`, {
        hint: 'It has {items} once and {category} at least once, as in "Items:\\n{items}\\nWhich is a {category}?".',
      })
    }
  }
  return (words, category) => {
    const spans: Layout['spans'] = []
    let text = ''
    for (const piece of pieces) {
      if (piece === '{category}') {
        text += category
      } else if (piece === '{article}') {
        text += /^[aeiou]/i.test(category) ? 'an' : 'a'
      } else if (piece !== '{items}') {
        text += piece
      } else {
        words.forEach((word, i) => {
          text += `${i === 0 ? '' : '\n'}- ${word}`
          spans.push([text.length - word.length, text.length])
        })
      }
    }
    return { text, spans }
  }
}

/** `objects` and `boxes` are accepted and ignored, so that options can be `{ ...bundledWords(), ... }`. */
const OPTIONS = {
  categories: true,
  select: true,
  items: true,
  matching: true,
  prompts: true,
  seed: true,
  asked: true,
  pooled: true,
  template: true,
  objects: true,
  boxes: true,
} satisfies Record<keyof CategoriesOptions | 'objects' | 'boxes', true>
/** Options with their defaults, checked. */
function settle(options: CategoriesOptions): Required<CategoriesOptions> {
  checkOptions(options, OPTIONS, 'categoryPrompts')
  const { categories, select = 'all', items = 6, prompts, seed, pooled = true } = options
  const { matching = select === 'all' ? 1 : 2, asked = Object.keys(categories ?? {}) } = options
  if (select !== 'all' && select !== 'first' && select !== 'last') {
    throw new QkError('ERR_ARGUMENT', `there is no selection "${select}"`, {
      hint: 'Use all, first or last.',
    })
  }
  checkInteger(items, 'items', 2)
  const least = select === 'all' ? 1 : 2
  checkInteger(matching, least === 1 ? 'matching' : `matching of select "${select}"`, least)
  checkInteger(prompts, 'prompts', 1)
  checkSeed(seed)
  checkCategories(categories, pooled ? [POOLED, 'first', 'last'] : ['first', 'last'])
  checkAsked(asked, Object.keys(categories), 'categories')
  if (matching >= items) {
    throw new QkError('ERR_ARGUMENT', `${matching} matching items of ${items} leave none to tell them from`)
  }
  for (const category of asked) {
    const [own, others] = [categories[category].length, outside(categories, category).length]
    if (own < matching || others < items - matching) {
      throw new QkError(
        'ERR_ARGUMENT',
        `a list needs ${matching} words of ${category} and ${items - matching} others; there are ${own} and ${others}`,
      )
    }
  }
  const template = options.template ?? categoryTemplate(select, matching)
  return { categories, select, items, matching, prompts, seed, asked, pooled, template }
}

function checkCategories(categories: CategoriesOptions['categories'], reserved: readonly string[]): void {
  if (typeof categories !== 'object' || categories === null || Object.keys(categories).length < 2) {
    throw new QkError('ERR_ARGUMENT', 'categories is an object of two or more names, each with its words')
  }
  for (const [name, words] of Object.entries(categories)) {
    checkWords(words, `category "${name}"`)
    if (!isContrastName(name) || reserved.includes(name)) {
      throw new QkError('ERR_ARGUMENT', `"${name}" cannot name a category`, {
        hint: `Use letters, digits, spaces, "-" and "_", and not ${reserved.join(' or ')}, which are contrasts already.`,
      })
    }
  }
}
