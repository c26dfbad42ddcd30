/** Figure 10: the scores of a prompt as the sum of order, lexical and what is left. */

import { attribute } from '../../attribution/attribute.js'
import type { ContrastExplained } from '../../attribution/explained.js'
import type { Result } from '../../store/result.js'
import { type BoxesExperiment, boxesExperiment, directionLike, randomLike } from '../binding.js'
import { captureRows } from '../capture-rows.js'
import { type Cell, derivedSeed, type FigureContext, type PaperFigure, percent } from '../figure.js'

const FEATURES = ['order', 'lexical']
/** Whose terms name the queries. */
const TERMS = 'order'
/** Bar: part of the score energy of held-out prompts that order and lexical explain. */
const BAR = 0.8

export async function figure10(context: FigureContext): Promise<PaperFigure> {
  const experiment = await boxesExperiment(context)
  const { head, bindings } = experiment
  const rows: Cell[][] = []
  const main: ContrastExplained[] = []
  const shared = await meanQuery(experiment, context)
  for (const { word, plain, centred } of bindings) {
    for (const [name, result] of [
      ['order + lexical', plain],
      ['of centred covariances', centred],
      ['random of the same ranks', randomLike(plain, head, FEATURES, derivedSeed(context.seed, 600))],
      ['mean query alone', directionLike(plain, head, FEATURES, shared)],
    ] as const) {
      // Softmax ignores a row's mean: what remains without it is what attention is made of.
      for (const rowsCentred of [false, true]) {
        const { heads } = await explain(experiment, result, rowsCentred, context)
        const found = heads[head].contrasts[TERMS]
        const { energy, mean, share } = found
        if (result === plain && !rowsCentred) main.push(found)
        rows.push([
          ...[word, name, rowsCentred, energy.mean, energy.low, energy.high],
          ...[mean.mean, mean.low, mean.high, share.order.mean, share.lexical.mean],
        ])
      }
    }
  }
  const [{ word, plain }] = bindings
  const { examples } = await explain(experiment, plain, false, context, 1)
  const [
    {
      words,
      rows: [row],
    },
  ] = examples
  const least = main.reduce((a, b) => (b.energy.mean < a.energy.mean ? b : a)).energy
  const of = (name: string, centred: boolean) =>
    Math.min(...rows.filter((r) => r[1] === name && r[2] === centred).map((r) => r[3] as number))
  return {
    figure: '10',
    title: `Scores of ${head} as order, lexical and residual`,
    claim: 'The named parts account for most of the scores.',
    held: least.mean >= BAR,
    why: `order + lexical explain ${percent(least.mean)} [${percent(least.low)}, ${percent(least.high)}] of the score energy of held-out prompts${bindings.length > 1 ? ', the least of the words' : ''} (bar ${percent(BAR)}), ${percent(of('order + lexical', true))} of rows less their mean; random subspaces of the same ranks ${percent(of('random of the same ranks', false))}; the direction of the mean query alone, which order and lexical share, ${percent(of('mean query alone', false))}; subspaces of centred covariances ${percent(of('of centred covariances', false))}, which leave it out`,
    tables: [
      {
        name: 'explained',
        columns: [
          ...['word', 'subspaces', 'rows centred', 'energy', 'energy low', 'energy high'],
          ...['row mean', 'row mean low', 'row mean high', 'order share', 'lexical share'],
        ],
        rows,
      },
      {
        name: 'scores',
        columns: ['word of the contrasts', 'position', 'token', 'order', 'lexical', 'residual', 'total'],
        rows: row.total.map((total, j) => [
          ...[word, j, words?.[j] ?? null, row.parts.order[j], row.parts.lexical[j], row.rest[j], total],
        ]),
      },
    ],
  }
}

/** What all queries have in common: as a direction, the least that any subspace with the means in it explains. */
async function meanQuery(
  { model, head, others }: BoxesExperiment,
  { signal }: FigureContext,
): Promise<Float64Array> {
  const { q, d } = await captureRows(model, others, head, { signal })
  const sum = new Float64Array(d)
  q.forEach((x, at) => {
    sum[at % d] += x
  })
  const length = Math.hypot(...sum)
  return sum.map((x) => x / length)
}

function explain(
  { model, head, heldOut }: BoxesExperiment,
  result: Result,
  centered: boolean,
  { seed, signal }: FigureContext,
  examples = 0,
) {
  const prompts = examples > 0 ? heldOut.slice(0, examples) : heldOut
  return attribute(model, prompts, {
    ...{ result, heads: head, features: FEATURES, contrast: TERMS, centered, examples },
    // The paper's split, of whole rows; its controls are subspaces of their own.
    ...{ method: 'residualize' as const, keys: 'all' as const, randoms: 0, batchSize: 64, seed, signal },
  })
}
