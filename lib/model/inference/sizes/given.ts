/** Sizes of free axes that the caller gives, by the names of the axes. */

import { QkError } from '../../../errors.js'
import { checkInteger } from '../../../validate.js'
import type { Graph } from '../../onnx/graph.js'
import type { ModelInput } from '../inputs.js'
import { axisKey, solvedSizes } from './solve.js'

/** The names of all free axes, each once; `input.axis` where one has no name. */
export function freeAxes(inputs: readonly ModelInput[]): string[] {
  const keys = inputs.flatMap(({ name, shape }) =>
    shape.flatMap((d, axis) => (typeof d === 'string' ? [axisKey(name, axis, d)] : [])),
  )
  return [...new Set(keys)]
}

/** Checks the sizes against the model's free axes. Errors: ERR_ARGUMENT, ERR_TYPE. */
export function givenSizes(
  inputs: readonly ModelInput[],
  sizes: Readonly<Record<string, number>>,
): ReadonlyMap<string, number> {
  if (!sizes || typeof sizes !== 'object') {
    throw new QkError('ERR_TYPE', 'sizes must be an object, as in { hidden: 24 }')
  }
  const free = freeAxes(inputs)
  for (const [key, size] of Object.entries(sizes)) {
    checkInteger(size, `the size of "${key}"`, 1, 999_999)
    if (!free.includes(key)) {
      throw new QkError('ERR_ARGUMENT', `the model has no free axis "${key}"`, {
        hint: free.length > 0 ? `Free are ${free.join(', ')}.` : 'All its axes are fixed.',
      })
    }
  }
  return new Map(Object.entries(sizes))
}

/**
 * The inputs with the sizes that hold for every run. These are the given sizes, except those that prompts determine
 * (their number and length), and the sizes of caches that the graph determines.
 */
export function settledInputs(
  graph: Graph,
  inputs: readonly ModelInput[],
  given: ReadonlyMap<string, number>,
): ModelInput[] {
  const prompts = promptAxes(inputs)
  const solved = solvedSizes(graph)
  return inputs.map((input) => ({
    ...input,
    shape: input.shape.map((d, axis) => {
      if (typeof d === 'number') {
        return d
      }
      const key = axisKey(input.name, axis, d)
      if (prompts.has(key)) {
        return d
      }
      const told = input.role === 'cache' && axis > 0 ? solved.exact(key) : undefined
      return given.get(key) ?? told ?? d
    }),
  }))
}

/**
 * Axes that change from prompt to prompt: those of the ids. In a model that takes tensors, axes with the usual names.
 */
function promptAxes(inputs: readonly ModelInput[]): Set<string> {
  const ids = inputs.filter(({ role }) => role === 'ids')
  if (ids.length > 0) {
    return new Set(freeAxes(ids))
  }
  const isLength = (key: string) =>
    /seq|len|pos|frame|sample|time/i.test(key) && !/enc|past|max|total|mem/i.test(key)
  return new Set(
    freeAxes(inputs).filter(
      (key) =>
        /batch/i.test(key) ||
        isLength(key) ||
        inputs.some(
          ({ name, shape: [first] }) => typeof first === 'string' && axisKey(name, 0, first) === key,
        ),
    ),
  )
}
