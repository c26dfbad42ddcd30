/** The centred scores of the boxes that could be the answer, for one prompt: they determine the attention. */

import type { AttributionReport } from '../attribution/attribute.js'
import { termRuns } from '../capture/terms/term-runs.js'
import { promptSet } from '../contrast/prompt-set.js'
import type { Result } from '../store/result.js'
import { type BoxesExperiment, nullLike } from './binding.js'
import { type Cell, NULLS, type PaperTable } from './figure.js'

/**
 * Of the first held-out prompt, a row each box, by plain and by centred covariances, beside the mean of null subspaces.
 * `explain` splits the rows of one prompt over the two features, less their mean over the boxes.
 */
export async function candidateRows(
  { model, head, bindings, heldOut }: BoxesExperiment,
  features: readonly string[],
  explain: (result: Result) => Promise<AttributionReport>,
): Promise<PaperTable> {
  const [{ word, plain, centred }] = bindings
  const [first] = heldOut
  const roles = new Map<number, string>()
  for await (const { term } of termRuns(model, promptSet([first]), { seed: 0 })) {
    for (const position of term.positive) {
      roles.set(position, 'answer')
    }
    for (const position of term.negative) {
      roles.set(position, 'other')
    }
  }
  const positions = [...roles.keys()].sort((a, b) => a - b)
  const rows: Cell[][] = []
  for (const [covariances, result] of [
    ['plain', plain],
    ['centred', centred],
  ] as const) {
    const example = async (own: Result) => (await explain(own)).examples[0]
    const { words, rows: split } = await example(result)
    const [{ parts, rest, total }] = split
    const nulls: Record<string, number[]>[] = []
    for (let draw = 0; draw < NULLS; draw++) {
      nulls.push((await example(nullLike(result, head, features, draw))).rows[0].parts)
    }
    for (const j of positions) {
      rows.push([
        word,
        covariances,
        j,
        words?.[j] ?? null,
        roles.get(j)!,
        ...features.map((name) => parts[name][j]),
        rest[j],
        total[j],
        ...features.map((name) => nulls.reduce((sum, own) => sum + own[name][j], 0) / NULLS),
      ])
    }
  }
  return {
    name: 'candidates',
    columns: [
      'word of the contrasts',
      'covariances',
      'position',
      'token',
      'role',
      ...features,
      'residual',
      'total',
      ...features.map((name) => `${name}, null mean`),
    ],
    rows,
  }
}
