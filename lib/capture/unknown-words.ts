/** Counts words of prompts that the tokenizer does not know, for a warning. */

import type { Located } from '../contrast/positions.js'
import type { PlacedPrompt } from '../contrast/prompt-set.js'

/** Most words that a warning names. */
const NAMED = 5

export class UnknownWords {
  private tokens = 0
  private unknown = 0
  private readonly words = new Set<string>()
  private first: string | undefined

  /** The same prompts; their encodings are counted. */
  async *of(prompts: AsyncIterable<PlacedPrompt>): AsyncGenerator<PlacedPrompt> {
    for await (const placed of prompts) {
      yield { ...placed, onEncoded: (located, where) => this.add(located, where) }
    }
  }

  warnings(): string[] {
    if (this.unknown === 0) {
      return []
    }
    const words = [...this.words].map((word) => JSON.stringify(word)).join(', ')
    return [
      `${this.unknown} of ${this.tokens} tokens are words that the tokenizer does not know, first in ${this.first}: ${words}`,
    ]
  }

  private add({ text = '', pair = '', tokens }: Located, where: string): void {
    this.tokens += tokens?.ids.length ?? 0
    tokens?.unknown.forEach((unknown, i) => {
      if (!unknown) {
        return
      }
      this.unknown += 1
      this.first ??= where
      if (this.words.size < NAMED) {
        this.words.add(wordAt(tokens.second[i] ? pair : text, tokens.spans[i]))
      }
    })
  }
}

/** The text between the spaces around a span. */
function wordAt(text: string, [start, end]: [number, number]): string {
  const before = /\S*$/.exec(text.slice(0, start))![0]
  const after = /^\S*/.exec(text.slice(end))![0]
  return `${before}${text.slice(start, end)}${after}`.trim()
}
