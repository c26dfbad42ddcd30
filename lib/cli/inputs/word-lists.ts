/** Word lists as files: JSON, or plain text with one word a line. */

import { readFileSync } from 'node:fs'
import { QkError } from '../../errors.js'

/**
 * Reads a list: a JSON array, an object that has it under `name` (as the bundled words.json has), or one word a
 * line. Errors: ERR_FILE, ERR_FORMAT.
 */
export function readWordList(file: string, name: string): string[] {
  const text = readText(file)
  if (!/^\s*[[{]/.test(text)) {
    return text
      .split(/\r?\n/)
      .map((line) => line.trim())
      .filter((line) => line !== '')
  }
  const value = parseJson(file, text)
  const list = Array.isArray(value) ? value : (value as Record<string, unknown>)[name]
  if (!Array.isArray(list) || !list.every((word) => typeof word === 'string')) {
    throw new QkError('ERR_FORMAT', `${file} holds no list of words`, {
      hint: `It is a JSON array of strings, an object with "${name}", or text with one word a line.`,
    })
  }
  return list
}

/** Reads word lists by category: a JSON object, or one under `categories`. Errors: ERR_FILE, ERR_FORMAT. */
export function readCategories(file: string): Record<string, string[]> {
  const value = parseJson(file, readText(file)) as Record<string, unknown> | null
  const isLists = (v: unknown): v is Record<string, string[]> =>
    typeof v === 'object' && v !== null && !Array.isArray(v) && Object.values(v).every(Array.isArray)
  const found = [value?.categories, value].find(isLists)
  if (found) {
    return found
  }
  throw new QkError('ERR_FORMAT', `${file} holds no categories`, {
    hint: 'It is a JSON object from names to lists of words, as in {"fruit": ["apple", "pear"], "tool": ["saw"]}.',
  })
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new QkError('ERR_FILE', `cannot open the words ${file}: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

function parseJson(file: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new QkError('ERR_FORMAT', `${file} is not JSON: ${(error as Error).message}`, { cause: error })
  }
}
