/** Recognises tokens that separate blocks of text, by their spelling. */

import type { PromptTokenizer } from '../../model/tokenizer/tokenizer.js'

/** Punctuation and line breaks, with a space before or after, and separators of pairs and of texts. */
const DELIMITER =
  /^[\s\u2581\u0120\u010A]*(?:[.,;:!?\u3002\u3001\u010A\n]+|\[SEP\]|<\/s>|<0x0A>)[\s\u2581\u0120]*$/u

/** Undefined without a tokenizer. */
export function delimiterTest(tokenizer: PromptTokenizer | undefined): ((id: number) => boolean) | undefined {
  if (!tokenizer) {
    return undefined
  }
  const known = new Map<number, boolean>()
  return (id) => {
    const found = known.get(id) ?? DELIMITER.test(tokenizer.token(id))
    known.set(id, found)
    return found
  }
}
