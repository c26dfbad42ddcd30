/** Figures 8 and 9: a head binds by order and by word, in two subspaces; only both together carry its attention. */

import { coordinates, principalComponents, principalCosines } from '../../attribution/geometry.js'
import { intervene } from '../../intervention/intervene.js'
import { unionBasis } from '../../math/basis.js'
import type { Result } from '../../store/result.js'
import { type BoxesExperiment, basisOf, boxesExperiment, PAIRS } from '../binding.js'
import { captureRows } from '../capture-rows.js'
import { halves, separation } from '../clusters.js'
import { type Cell, type FigureContext, type PaperFigure, percent } from '../figure.js'
import { SWAP_COLUMNS, swapRows, variantOf } from '../swap-table.js'

/** Bars: flips of the joint swap and of random subspaces of its rank. */
const BARS = { both: 0.5, random: 0.1 }
const BOTH = ['order', 'lexical']

export async function figures8And9(context: FigureContext): Promise<PaperFigure> {
  const experiment = await boxesExperiment(context)
  const { bindings, head } = experiment
  const variants = bindings.flatMap(({ word, plain, centred }) => [
    { word, center: false, result: plain },
    { word, center: true, result: centred },
  ])
  const subspaces: Cell[][] = []
  const cosines: Cell[][] = []
  const swaps: Cell[][] = []
  const flips: { center: boolean; order: number; lexical: number; both: number; random: number }[] = []
  for (const { word, center, result } of variants) {
    for (const contrast of ['order', 'lexical', 'unused']) {
      const { rank, totalEnergy, scoreGap, s, terms } = result.head(head).contrast(contrast)
      const values = [...s].map((x) => x.toPrecision(4)).join(' ')
      subspaces.push([word, center, contrast, rank, totalEnergy, scoreGap, values, terms])
    }
    for (const side of ['u', 'v'] as const) {
      const [a, b] = BOTH.map((contrast) => basisOf(result, head, contrast, side))
      const found = await principalCosines(a, b, context.signal)
      found.forEach((cosine, i) => {
        cosines.push([word, center, side === 'u' ? 'query' : 'key', i + 1, cosine])
      })
    }
    const report = await swap(experiment, result, context)
    swaps.push(...swapRows(report, head).map((row) => [word, center, ...row]))
    const flip = (features: string[], kind?: 'random') =>
      variantOf(report, features, kind).heads[head]?.flipRate?.mean ?? Number.NaN
    flips.push({
      center,
      ...{ order: flip(['order']), lexical: flip(['lexical']), both: flip(BOTH) },
      random: flip(BOTH, 'random'),
    })
  }
  const plain = flips.filter(({ center }) => !center)
  const centred = flips.filter(({ center }) => center)
  const range = (of: (f: (typeof flips)[number]) => number, among = plain) => {
    const all = among.map(of)
    const [low, high] = [percent(Math.min(...all)), percent(Math.max(...all))]
    return low === high ? low : `${low} to ${high}`
  }
  const answer = (column: string) => SWAP_COLUMNS.indexOf(column) + 2
  const bothRow = swaps.find((row) => row[1] === false && row[2] === BOTH.join(' + '))!
  return {
    figure: '8-9',
    title: `Binding in the head ${head} of the bundled transformer`,
    claim:
      'The head attends by an order and a lexical subspace: swapping either moves attention partly, both together most.',
    held: plain.every(
      (f) => f.both >= BARS.both && f.random < BARS.random && f.order < f.both && f.lexical < f.both,
    ),
    why: `ΔC of prompts that ask for one word (${bindings.map(({ word }) => word).join(', ')} in turn), on prompts that ask for any: the joint swap flips attention on ${range((f) => f.both)} of them (bar ${percent(BARS.both)}), order alone on ${range((f) => f.order)}, lexical alone on ${range((f) => f.lexical)} (bar: less than both), random subspaces of the joint rank on ${range((f) => f.random)} (bar: under ${percent(BARS.random)}); the answer is the likeliest on ${percent(bothRow[answer('answer likeliest before')] as number)} before and ${percent(bothRow[answer('answer likeliest after')] as number)} after the joint swap (${bothRow[0]}); of centred covariances: joint ${range((f) => f.both, centred)}, order ${range((f) => f.order, centred)}, lexical ${range((f) => f.lexical, centred)}, random ${range((f) => f.random, centred)}`,
    tables: [
      {
        name: 'heads',
        columns: ['head', 'order gap', 'order rank', 'lexical rank'],
        rows: heads(bindings[0].plain),
      },
      {
        name: 'subspaces',
        columns: [
          ...['word', 'centred', 'contrast', 'rank', 'total energy', 'score gap', 'singular values', 'terms'],
        ],
        rows: subspaces,
      },
      {
        name: 'cosines',
        columns: ['word', 'centred', 'side', 'index', 'cosine of order and lexical'],
        rows: cosines,
      },
      ...(await places(experiment, context)),
      { name: 'swaps', columns: ['word', 'centred', ...SWAP_COLUMNS], rows: swaps },
    ],
  }
}

function swap(
  { model, head, heldOut }: BoxesExperiment,
  result: Result,
  { sizes, seed, signal }: FigureContext,
) {
  return intervene(model, heldOut, {
    ...{ result, heads: head, features: ['order', 'lexical', BOTH], contrast: 'order' },
    ...{ randoms: sizes.randoms, batchSize: 64, seed, signal },
  })
}

/** All heads, those that attend to the answer most first. */
function heads(result: Result): Cell[][] {
  return result.headNames
    .map((name): [string, number, number, number] => {
      const { scoreGap, rank } = result.head(name).contrast('order')
      return [name, scoreGap, rank, result.head(name).contrast('lexical').rank]
    })
    .sort((a, b) => b[1] - a[1])
}

/** Whether the answer's place in the order can be read off its key, in each subspace; and the keys themselves. */
async function places(
  { model, bindings, head, heldOut }: BoxesExperiment,
  { signal }: FigureContext,
): Promise<PaperFigure['tables']> {
  const [{ plain, centred }] = bindings
  const { k, prompts, d } = await captureRows(model, heldOut, head, { signal })
  const labels = prompts.map((p) => `${p % PAIRS}`)
  const measures: Cell[][] = []
  const whole = separation(...halves({ rows: k, d, labels }))
  measures.push(['whole keys', null, d, whole.between, whole.accuracy])
  const points: Cell[][] = []
  for (const [center, result] of [
    [false, plain],
    [true, centred],
  ] as const) {
    const [order, lexical] = BOTH.map((contrast) => basisOf(result, head, contrast))
    for (const [name, basis] of [
      ['order', order],
      ['lexical', lexical],
      ['order + lexical', unionBasis([order, lexical])],
    ] as const) {
      const rank = basis.shape[1]
      const inside = coordinates(k, basis)
      const { between, accuracy } = separation(...halves({ rows: inside, d: rank, labels }))
      measures.push([name, center, rank, between, accuracy])
      if (name === 'order + lexical' || rank === 0) continue
      const { scores, count } = await principalComponents(inside, rank, 3, signal)
      labels.forEach((label, i) => {
        const at = (c: number) => (c < count ? scores[i * count + c] : null)
        points.push([name, center, label, at(0), at(1), at(2)])
      })
    }
  }
  return [
    {
      name: 'places',
      columns: ['subspace', 'centred', 'rank', 'between / total', 'nearest place right'],
      rows: measures,
    },
    { name: 'points', columns: ['subspace', 'centred', 'place', 'pc1', 'pc2', 'pc3'], rows: points },
  ]
}
