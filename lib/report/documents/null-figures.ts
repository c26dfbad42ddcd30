/** The prompt set from which a document was made, as stored in documents. */

import type { PromptSetSummary } from '../../contrast/prompt-set.js'
import { definitions } from '../../store/reading/result-schema.js'
import * as s from '../../store/reading/schema.js'

export const promptSummary = s.fields({
  source: s.text,
  sha256: s.text,
  prompts: s.count,
  contrasts: s.texts,
  definitions,
} satisfies s.Fields<PromptSetSummary>)

/** Figures of null draws. */
export const nullFigures = s.fields({ count: s.count, mean: s.number, p95: s.number })
