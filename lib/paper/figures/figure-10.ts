/** Figure 10: the scores of a prompt as the sum of order, lexical and what is left. */

import { attribute } from '../../attribution/attribute.js'
import type { Estimate } from '../../math/bootstrap.js'
import type { NullFigures } from '../../math/null-limit.js'
import type { Result } from '../../store/result.js'
import { type BoxesExperiment, boxesExperiment } from '../binding.js'
import { candidateRows } from '../candidates.js'
import { CONTROL_COLUMNS, controlCells } from '../controls.js'
import type { Cell, FigureContext, PaperFigure } from '../figure.js'
import { guidanceNote } from '../guidance.js'
import { percent } from '../percent.js'
import { atLeast, claimOf, weakest } from '../verdict.js'

const FEATURES = ['order', 'lexical']
/** Contrast whose terms give the queries for both features, since the paper splits one row by both. */
const TERMS = 'order'
/** Bar: part of the score energy of held-out prompts that order and lexical explain. */
const BAR = 0.8

/** The paper's split, of whole rows as they are, first; then what softmax leaves of them, and of the boxes alone. */
const ROWS = [
  { rows: 'all keys', keys: 'all', centered: false },
  { rows: 'all keys, less their mean', keys: 'all', centered: true },
  { rows: 'candidate boxes, less their mean', keys: 'term', centered: true },
] as const
type Rows = (typeof ROWS)[number]

interface Measured {
  word: string
  covariances: 'plain' | 'centred'
  rows: Rows['rows']
  rank: number
  energy: Estimate
  nulls: NullFigures | null
  keys: number | null
  meanQuery: number | null
  random: number | null
}

export async function figure10(context: FigureContext): Promise<PaperFigure> {
  const experiment = await boxesExperiment(context)
  const { head, bindings } = experiment
  const table: Cell[][] = []
  const measured: Measured[] = []
  for (const { word, plain, centred } of bindings) {
    for (const [covariances, result] of [
      ['plain', plain],
      ['centred', centred],
    ] as const) {
      for (const options of ROWS) {
        const { heads } = await explain(experiment, result, options, context)
        const { energy, controls, share, rank } = heads[head].contrasts[TERMS]
        const { nulls, keys, meanQuery } = controls
        const random = controls.random?.mean ?? null
        const { rows } = options
        measured.push({ word, covariances, rows, rank, energy, nulls, keys, meanQuery, random })
        const add = (figure: string, { mean, low, high }: Estimate, cells: Cell[]) =>
          table.push([word, covariances, rows, rank, figure, mean, low, high, ...cells])
        add('energy', energy, controlCells(energy.mean, { nulls, keys, meanQuery, random }))
        for (const name of FEATURES) {
          const { nulls: own, ...estimate } = share[name]
          const without = { nulls: own, keys: null, meanQuery: null, random: null }
          add(`share of ${name}`, estimate, controlCells(estimate.mean, without))
        }
      }
    }
  }
  const [{ word, plain }] = bindings
  const { examples } = await explain(experiment, plain, ROWS[0], context, 1)
  const [
    {
      words,
      rows: [row],
    },
  ] = examples
  const of = (covariances: Measured['covariances'], rows: Rows) =>
    measured.filter((one) => one.covariances === covariances && one.rows === rows.rows)
  const decisive = (covariances: Measured['covariances'], rows: Rows) =>
    weakest(
      of(covariances, rows).map((one) =>
        atLeast(
          `energy of ${rows.rows} explained, ${covariances} covariances (${one.word}):`,
          one.energy.mean,
          BAR,
          one,
        ),
      ),
    )
  const [whole, , boxes] = ROWS
  const paper = of('plain', whole)
  const most = (pick: (one: Measured) => number | null) =>
    percent(Math.max(...paper.map((one) => pick(one) ?? Number.NaN)))
  return {
    figure: '10',
    title: `Scores of ${head} as order, lexical and residual`,
    ...claimOf(
      'The named parts account for most of the scores.',
      [decisive('plain', whole)],
      [],
      [
        ...(bindings.length > 1 ? ['the figure is that of the word where it beats its null least'] : []),
        `the direction of the mean query alone, which order and lexical share, explains ${most((one) => one.meanQuery)}; random (Haar) subspaces of the same ranks ${most((one) => one.random)}`,
      ],
    ),
    further: [
      claimOf('The named parts of plain covariances account for what tells the candidate boxes apart.', [
        decisive('plain', boxes),
      ]),
      claimOf('The named parts of centred covariances account for what tells the candidate boxes apart.', [
        decisive('centred', boxes),
      ]),
    ],
    notes: [guidanceNote(head)],
    tables: [
      {
        name: 'explained',
        columns: [
          'word',
          'covariances',
          'rows',
          'rank',
          'figure',
          'value',
          'low',
          'high',
          ...CONTROL_COLUMNS,
        ],
        rows: table,
      },
      await candidateRows(experiment, FEATURES, (result) => explain(experiment, result, boxes, context, 1)),
      {
        name: 'scores',
        columns: ['word of the contrasts', 'position', 'token', 'order', 'lexical', 'residual', 'total'],
        rows: row.total.map((total, j) => [
          word,
          j,
          words?.[j] ?? null,
          row.parts.order[j],
          row.parts.lexical[j],
          row.rest[j],
          total,
        ]),
      },
    ],
  }
}

function explain(
  { model, head, heldOut }: BoxesExperiment,
  result: Result,
  { keys, centered }: Rows,
  { sizes, seed, signal }: FigureContext,
  examples = 0,
) {
  const prompts = examples > 0 ? heldOut.slice(0, examples) : heldOut
  return attribute(model, prompts, {
    result,
    heads: head,
    features: FEATURES,
    contrast: TERMS,
    keys,
    centered,
    examples,
    // As in the paper, the part that both features share counts for the first of them.
    method: 'residualize' as const,
    randoms: examples > 0 ? 0 : sizes.randoms,
    points: 0,
    batchSize: 64,
    seed,
    signal,
  })
}
