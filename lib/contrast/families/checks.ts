/** Checks of user options that the prompt families share. */

import { QkError } from '../../errors.js'
import { kindOf } from '../../validate.js'
import type { Position } from '../prompt.js'

/** Checks the options object of a family of prompts. Errors: ERR_TYPE. */
export function checkFamilyOptions(options: unknown, family: string): void {
  if (typeof options === 'object' && options !== null) {
    return
  }
  throw new QkError(
    'ERR_TYPE',
    `prompts of ${family} are made from an object of options, got ${kindOf(options)}`,
  )
}

/** Checks that an argument is a list of different words, each on one line. Errors: ERR_ARGUMENT. */
export function checkWords(words: readonly string[], what: string): void {
  if (!Array.isArray(words) || words.length === 0) {
    throw new QkError('ERR_ARGUMENT', `${what} is a list of words, not empty`)
  }
  const wrong = words.find((word) => typeof word !== 'string' || !/^\S(.*\S)?$/.test(word))
  if (wrong !== undefined) {
    throw new QkError('ERR_ARGUMENT', `${what} holds ${JSON.stringify(wrong)}, which is not a word`, {
      hint: 'A word is text on one line, with no space around it.',
    })
  }
  const twice = words.find((word, i) => words.indexOf(word) !== i)
  if (twice !== undefined) {
    throw new QkError('ERR_ARGUMENT', `${what} holds "${twice}" twice`)
  }
}

/** Checks that all words are in the list that they are taken from. Errors: ERR_ARGUMENT. */
export function checkAsked(
  asked: readonly string[] | undefined,
  from: readonly string[],
  what: string,
): void {
  if (asked === undefined) {
    return
  }
  checkWords(asked, 'asked')
  const unknown = asked.find((word) => !from.includes(word))
  if (unknown !== undefined) {
    throw new QkError('ERR_ARGUMENT', `asked holds "${unknown}", which is not one of the ${what}`)
  }
}

/** The last token of the characters [start, end) of the prompt's text. */
export function lastTokenOf([start, end]: readonly [start: number, end: number]): Position {
  return { char: [start, end], token: 'last' }
}
