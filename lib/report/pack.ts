/** The document as text that a page can hold; a large one takes a while, during which the event loop goes on. */

import { once } from 'node:events'
import { createGzip } from 'node:zlib'
import { cooperator, type Turn } from '../backend/cooperate.js'
import type { ReportDocument } from './document.js'

/** Digits that count of every number on the page. */
const DIGITS = 7
/** Characters that are compressed in one go. */
const COMPRESSED_AT_ONCE = 2 ** 16

/**
 * Base64 of gzip of JSON: a model of a thousand heads is a fifth of its size so, and no text in it can end the element that
 * holds it.
 */
export async function packed(document: ReportDocument): Promise<string> {
  const gzip = createGzip({ level: 9 })
  const chunks: Buffer[] = []
  gzip.on('data', (chunk: Buffer) => chunks.push(chunk))
  let waiting = ''
  const write = (piece: string) => {
    waiting += piece
    if (waiting.length >= COMPRESSED_AT_ONCE) {
      gzip.write(waiting)
      waiting = ''
    }
  }
  await writeJson(document, write, cooperator())
  gzip.end(waiting)
  await once(gzip, 'end')
  return Buffer.concat(chunks).toString('base64')
}

/** Plain values that are written in one go. */
const AT_ONCE = 2048

type Write = (piece: string) => void

/** What JSON.stringify gives, piece by piece. */
async function writeJson(value: unknown, write: Write, turn: Turn): Promise<void> {
  const wait = turn()
  if (wait) {
    await wait
  }
  if (typeof value !== 'object' || value === null) {
    write(JSON.stringify(value, rounded) ?? 'null')
    return
  }
  if (Array.isArray(value)) {
    write('[')
    await writeEntries(value, write, turn)
    write(']')
    return
  }
  if (isSmall(value)) {
    write(JSON.stringify(value, rounded))
    return
  }
  write('{')
  let before = ''
  for (const [key, entry] of Object.entries(value)) {
    if (entry === undefined) {
      continue
    }
    write(`${before}${JSON.stringify(key)}:`)
    before = ','
    await writeJson(entry, write, turn)
  }
  write('}')
}

async function writeEntries(list: readonly unknown[], write: Write, turn: Turn): Promise<void> {
  if (list.every(isPlain)) {
    for (let from = 0; from < list.length; from += AT_ONCE) {
      const wait = turn()
      if (wait) {
        await wait
      }
      const piece = JSON.stringify(list.slice(from, from + AT_ONCE), rounded)
      write(`${from === 0 ? '' : ','}${piece.slice(1, -1)}`)
    }
    return
  }
  for (const [i, entry] of list.entries()) {
    if (i > 0) {
      write(',')
    }
    await writeJson(entry, write, turn)
  }
}

const isPlain = (value: unknown): boolean => typeof value !== 'object' || value === null

/** Whether nothing in an object holds anything further, so that it is written in no time. */
function isSmall(value: object): boolean {
  const entries = Object.values(value)
  return entries.length <= AT_ONCE && entries.every(isPlain)
}

function rounded(_key: string, value: unknown): unknown {
  if (typeof value !== 'number' || Number.isInteger(value)) {
    return value
  }
  return Number.isFinite(value) ? Number(value.toPrecision(DIGITS)) : null
}
