/**
 * Downloads one file: whole and with the hash that the Hub's listing gives it, or not at all.
 *
 * The bytes come by `fetch`, not by `downloadFile` of @huggingface/hub: its stream never ends on an answer without a
 * body, takes the whole file for the part that was asked for, and turns a refusal into a text without its status.
 * Files that the Hub stores by Xet are asked for in the ordinary way, which leads to one address with the whole file:
 * the protocol of Xet takes a token of its own to further hosts, and a mirror need not know it.
 */

import { createHash } from 'node:crypto'
import { QkError, throwIfAborted } from '../../errors.js'
import { writeFileAtomically } from '../../store/atomic-file.js'
import { unreachable } from './request.js'

export interface RemoteFile {
  path: string
  /** In bytes. */
  size: number
  /** SHA-256 of a large file, git's own SHA-1 of any other, in hexadecimal. */
  hash: string
}

/** Number of attempts. After a broken connection, the next attempt resumes where the last one ended. */
const ATTEMPTS = 3

export interface Download {
  url: string
  fetch: typeof fetch
  signal?: AbortSignal
  /** Called with the number of bytes that just arrived. */
  onBytes(count: number): void
}

/** Errors: ERR_HUB, ERR_NETWORK, ERR_CHECKSUM, ERR_ABORTED, ERR_FILE; nothing is left behind. */
export async function downloadFile(file: RemoteFile, target: string, how: Download): Promise<void> {
  await writeFileAtomically(target, checked(file, received(file, how), how.onBytes))
}

async function* received(file: RemoteFile, { url, fetch, signal }: Download) {
  let count = 0
  for (let attempt = 1; ; attempt++) {
    try {
      const part: Record<string, string> = count > 0 ? { Range: `bytes=${count}-` } : {}
      // A compressed response has no byte ranges that could be resumed.
      const response = await fetch(url, { headers: { 'Accept-Encoding': 'identity', ...part } })
      // A server that ignores the range sends everything again.
      let known = response.status === 206 ? 0 : count
      for await (const chunk of response.body ?? []) {
        const fresh = (chunk as Uint8Array).subarray(Math.min(known, chunk.length))
        known -= chunk.length - fresh.length
        count += fresh.length
        yield fresh
      }
      // A server may also end the response too early without an error.
      if (count >= file.size) {
        return
      }
      throw new TypeError(`the answer ended after ${count} of ${file.size} bytes`)
    } catch (error) {
      throwIfAborted(signal)
      if (error instanceof QkError) {
        throw error
      }
      if (attempt === ATTEMPTS) {
        const { code, message, hint } = unreachable(new URL(url).origin, error)
        throw new QkError(code, `${file.path} was not downloaded: ${message}`, { hint, cause: error })
      }
    }
  }
}

async function* checked(file: RemoteFile, chunks: AsyncIterable<Uint8Array>, onBytes: Download['onBytes']) {
  const large = file.hash.length === 64
  const hash = createHash(large ? 'sha256' : 'sha1')
  // Git's hash includes the kind and length of the file.
  if (!large) {
    hash.update(`blob ${file.size}\0`)
  }
  let size = 0
  for await (const chunk of chunks) {
    size += chunk.length
    if (size > file.size) {
      break
    }
    hash.update(chunk)
    onBytes(chunk.length)
    yield chunk
  }
  if (size !== file.size) {
    throw damaged(file, `it has more than the ${file.size} bytes of the Hub's listing`)
  }
  const found = hash.digest('hex')
  if (found !== file.hash) {
    throw damaged(
      file,
      `its ${large ? 'SHA-256' : 'SHA-1'} is ${found}, and ${file.hash} in the Hub's listing`,
    )
  }
}

function damaged({ path }: RemoteFile, why: string): QkError {
  return new QkError('ERR_CHECKSUM', `${path} came damaged: ${why}`, {
    hint: 'Nothing of it was kept. Try again; where it stays so, the server or a proxy changes the file.',
  })
}
