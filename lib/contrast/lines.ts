/** Reads the lines of a prompt set in UTF-8. */

import { QkError } from '../errors.js'

const LINE_FEED = 0x0a

/**
 * The lines of a text in chunks, without their ends. Lines end with LF or CRLF, and a byte order mark is skipped.
 * Errors: ERR_PROMPT with the number of a line that is not UTF-8, or is too long for a string; ERR_FILE if reading the
 * chunks fails.
 */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<string> {
  let begun: Uint8Array[] = []
  let number = 0
  const line = (): string => {
    number += 1
    const bytes = begun.length === 1 ? begun[0] : Buffer.concat(begun)
    begun = []
    return textOf(bytes, `${name}:${number}`)
  }
  try {
    for await (const chunk of chunks) {
      let from = 0
      for (let to = chunk.indexOf(LINE_FEED); to >= 0; to = chunk.indexOf(LINE_FEED, from)) {
        begun.push(chunk.subarray(from, to))
        from = to + 1
        yield line()
      }
      if (from < chunk.length) {
        begun.push(chunk.subarray(from))
      }
    }
  } catch (cause) {
    throw cause instanceof QkError
      ? cause
      : new QkError('ERR_FILE', `cannot read the prompts ${name}: ${(cause as Error).message}`, { cause })
  }
  if (begun.length > 0) {
    yield line()
  }
}

/** Leaves out a byte order mark, which the first line may have. */
const decoder = new TextDecoder('utf-8', { fatal: true })

function textOf(bytes: Uint8Array, where: string): string {
  try {
    const text = decoder.decode(bytes)
    return text.endsWith('\r') ? text.slice(0, -1) : text
  } catch (cause) {
    const isInvalid = (cause as { code?: string }).code === 'ERR_ENCODING_INVALID_ENCODED_DATA'
    throw new QkError('ERR_PROMPT', `${where}: ${isInvalid ? 'not UTF-8' : 'too long to be read'}`, {
      hint: isInvalid
        ? 'Save the prompt set as UTF-8.'
        : `The line has ${bytes.length} bytes; a prompt set has one prompt a line.`,
      cause,
    })
  }
}
