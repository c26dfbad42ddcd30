/** Finds duplicate prompts, and ids that several prompts share. */

import { createHash } from 'node:crypto'
import type { PlacedPrompt } from '../prompt-set.js'
import { promptLine } from '../write-prompts.js'
import type { Finding } from './report.js'

const MOST_EXAMPLES = 3

/** Stores a hash and a place of every prompt. */
export class Duplicates {
  private readonly contents = new Map<string, string>()
  private readonly ids = new Map<string, { content: string; where: string }>()
  private readonly repeated: string[] = []
  private readonly clashing: string[] = []
  private repeats = 0
  private clashes = 0

  add({ prompt, rules, where }: PlacedPrompt): void {
    const { text, pair, tokens, inputs, counterfactual, id } = prompt
    const other = counterfactual && {
      text: counterfactual.text,
      pair: counterfactual.pair,
      tokens: counterfactual.tokens,
      inputs: counterfactual.inputs,
    }
    // Rules have a fixed order of fields, and include those of the counterfactual.
    const sorted = [...rules].sort((a, b) => (a.contrast < b.contrast ? -1 : 1))
    const whole = { text, pair, tokens, inputs, other, rules: sorted }
    const content = createHash('sha1')
      .update(promptLine(whole as never))
      .digest('base64')
    const known = this.contents.get(content)
    if (known === undefined) {
      this.contents.set(content, where)
    } else {
      this.repeats += 1
      if (this.repeated.length < MOST_EXAMPLES) {
        this.repeated.push(`${where} repeats ${known}`)
      }
    }
    if (id === undefined) {
      return
    }
    const named = this.ids.get(id)
    if (named === undefined) {
      this.ids.set(id, { content, where })
    } else if (named.content !== content) {
      this.clashes += 1
      if (this.clashing.length < MOST_EXAMPLES) {
        this.clashing.push(`${where} and ${named.where}`)
      }
    }
  }

  findings(prompts: number): Finding[] {
    const found: Finding[] = []
    if (this.repeats > 0) {
      found.push({
        kind: 'duplicates',
        level: 'warning',
        message: `${this.repeats} of ${prompts} prompts repeat an earlier one, input and rules alike: they are no further evidence, and tests count them as if they were. Remove them.`,
        size: { repeats: this.repeats, prompts },
        where: this.repeated,
      })
    }
    if (this.clashes > 0) {
      found.push({
        kind: 'ids',
        level: 'warning',
        message: `${this.clashes} prompts have the id of another, different prompt.`,
        size: { clashes: this.clashes, prompts },
        where: this.clashing,
      })
    }
    return found
  }
}
