/** Checks of what analyses of models take. */

import { QkError } from '../../errors.js'
import { checkModel, type Model } from '../../model/model.js'
import { Result } from '../../store/result.js'
import { checkOptions, type KnownKeys } from '../../validate.js'

/** A model, and an object of known options with a result. Errors: ERR_TYPE, ERR_ARGUMENT. */
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
