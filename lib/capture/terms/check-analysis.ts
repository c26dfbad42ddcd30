/** Checks the arguments of analyses. */

import type { PromptSetSummary } from '../../contrast/prompt-set.js'
import { QkError } from '../../errors.js'
import { checkModel, type Model } from '../../model/model.js'
import { Result } from '../../store/result.js'
import { checkOptions, type KnownKeys } from '../../validate.js'

/** Checks a model, and an object of known options with a result. Errors: ERR_TYPE, ERR_ARGUMENT. */
export function checkAnalysis(
  model: Model,
  options: { result: Result },
  known: KnownKeys,
  what: string,
): void {
  checkModel(model, what)
  if (typeof options !== 'object' || options === null || !(options.result instanceof Result)) {
    throw new QkError('ERR_TYPE', `${what} needs { result }`, {
      hint: 'What `decompose` or `loadResult` returns.',
    })
  }
  checkOptions(options, known, what)
}

/** Warnings if a result is measured on the same prompts from which it was made. */
export function samePromptsWarnings(
  { info }: Result,
  { sha256 }: Pick<PromptSetSummary, 'sha256'>,
): string[] {
  if (info.prompts.sha256 !== sha256) {
    return []
  }
  return [
    'the result was made from these very prompts (the same SHA-256): its subspaces fit them, and figures are too favourable; measure on other prompts',
  ]
}
