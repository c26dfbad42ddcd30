/** Encodes the document as text for the page. A large document takes a while, so the event loop runs in between. */

import { once } from 'node:events'
import { createGzip } from 'node:zlib'
import { cooperator, type Turn } from '../backend/cooperate.js'
import type { ReportDocument } from './document.js'

/** Number of significant digits of every number on the page. */
const DIGITS = 7
/** Number of characters that are compressed at a time. */
const COMPRESSED_AT_ONCE = 2 ** 16

/**
 * Base64 of gzip of JSON. A model of a thousand heads shrinks to a fifth of its size, and no text in it can end the
 * HTML element around it.
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

/** Number of plain values that are written at a time. */
const AT_ONCE = 2048

type Write = (piece: string) => void

/** Writes the same text as JSON.stringify, piece by piece. */
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

/** Whether an object has no nested values, so that writing it takes little time. */
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
