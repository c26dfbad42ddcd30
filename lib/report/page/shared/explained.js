/** Stored prompts with their attention, as `explain` gives them, of the selected head and contrast. */

import { fileName } from './dom.js'
import { report, selection } from './selection.js'

/** Prompts of the selected result's model, all without a result; those that have a term of the contrast come first. */
export function storedPrompts({ result, contrast } = selection) {
  const all = report.explanations
    .filter(({ model }) => !result || fileName(model) === fileName(result.model.path))
    .flatMap((own) => own.prompts.map((prompt) => ({ ...prompt, document: own.name })))
  const has = (prompt) => termOf(prompt, contrast) !== undefined
  return [...all.filter(has), ...all.filter((prompt) => !has(prompt))]
}

/** The first term of the contrast at the query that is explained. */
export const termOf = (prompt, contrast = selection.contrast) =>
  prompt.terms.find((term) => term.contrast === contrast && term.query === prompt.query) ??
  prompt.terms.find((term) => term.contrast === contrast)

/** What is stored of the selected head in a prompt. */
export const headOf = (prompt, head = selection.head) => prompt?.heads.find((own) => own.head === head)

/** The edit of the selected contrast's feature in the selected head. */
export const swapOf = (own, contrast = selection.contrast) =>
  own?.features?.find((feature) => feature.contrast === contrast)?.swap
