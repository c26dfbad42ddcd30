/** Figures 8 and 9: a head binds by order and by word, in two subspaces; only both together carry its attention. */

import { coordinates, principalComponents, principalCosines } from '../../attribution/geometry.js'
import { type InterventionReport, intervene } from '../../intervention/intervene.js'
import { nullFigures } from '../../math/null-limit.js'
import { nullBasis } from '../../spectrum/nulls/control-bases.js'
import type { Result } from '../../store/result.js'
import { type BoxesExperiment, basisOf, boxesExperiment, PAIRS } from '../binding.js'
import { captureRows } from '../capture-rows.js'
import { halves, separation } from '../clusters.js'
import { CONTROL_COLUMNS, controlCells, measuredInside, NO_CONTROLS, unionOfFeatures } from '../controls.js'
import { type Cell, derivedSeed, type FigureContext, NULLS, type PaperFigure } from '../figure.js'
import { guidanceNote } from '../guidance.js'
import { percent } from '../percent.js'
import { EFFECT_COLUMNS, effectOf, effectRows, SWAP_COLUMNS, swapRows, variantOf } from '../swap-table.js'
import { atLeast, claimOf, type DecisiveFigure, figureOf, type PaperClaim, weakest } from '../verdict.js'

/** Bars: flips of the joint swap and of random subspaces of its rank; how well places are told. */
const BARS = { both: 0.5, random: 0.1, place: 0.8 }
const BOTH = ['order', 'lexical']

const EDITS = [BOTH, ['order'], ['lexical']]

/** One set of subspaces, and what swaps in it did. */
interface Swapped {
  word: string
  center: boolean
  report: InterventionReport
}

export async function figures8And9(context: FigureContext): Promise<PaperFigure> {
  const experiment = await boxesExperiment(context)
  const { bindings, head } = experiment
  const variants = bindings.flatMap(({ word, plain, centred }) => [
    { word, center: false, result: plain },
    { word, center: true, result: centred },
  ])
  const subspaces: Cell[][] = []
  const cosines: Cell[][] = []
  const swapped: Swapped[] = []
  for (const { word, center, result } of variants) {
    for (const contrast of ['order', 'lexical', 'unused']) {
      const { rank, totalEnergy, scoreGap, s, terms } = result.head(head).contrast(contrast)
      const values = [...s].map((x) => x.toPrecision(4)).join(' ')
      subspaces.push([word, center, contrast, rank, totalEnergy, scoreGap, values, terms])
    }
    cosines.push(...(await cosineRows(result, head, word, center, context.signal)))
    swapped.push({ word, center, report: await swap(experiment, result, context) })
  }
  const places = await placeTables(experiment, context)
  const rowsOf = (make: (report: InterventionReport) => Cell[][]) =>
    swapped.flatMap(({ word, center, report }) => make(report).map((row) => [word, center, ...row]))
  return {
    figure: '8-9',
    title: `Binding in the head ${head} of the bundled transformer`,
    ...claimAbout(swapped, false),
    further: [claimAbout(swapped, true), places.claim],
    notes: [guidanceNote(head)],
    tables: [
      {
        name: 'heads',
        columns: ['head', 'order gap', 'order rank', 'lexical rank'],
        rows: heads(bindings[0].plain),
      },
      {
        name: 'subspaces',
        columns: [
          'word',
          'centred',
          'contrast',
          'rank',
          'total energy',
          'score gap',
          'singular values',
          'terms',
        ],
        rows: subspaces,
      },
      {
        name: 'cosines',
        columns: ['word', 'centred', 'side', 'index', 'cosine of order and lexical', 'null mean', 'null p95'],
        rows: cosines,
      },
      ...places.tables,
      { name: 'effects', columns: ['word', 'centred', ...EFFECT_COLUMNS], rows: rowsOf(effectRows) },
      {
        name: 'swaps',
        columns: ['word', 'centred', ...SWAP_COLUMNS],
        rows: rowsOf((report) => swapRows(report, head)),
      },
    ],
  }
}

/** The paper's claim, of subspaces of plain or of centred covariances. */
function claimAbout(swapped: readonly Swapped[], center: boolean): PaperClaim {
  const own = swapped.filter((one) => one.center === center)
  const flips = ({ report }: Swapped, features: readonly string[]) => effectOf(report, features, 'flipped')
  const flip = (one: Swapped, features: readonly string[]) => flips(one, features)?.value.mean ?? Number.NaN
  const random = own.map((one) => flips(one, BOTH)?.controls.random ?? Number.NaN)
  const decisive = EDITS.map((features) =>
    weakest(
      own.map((one) => {
        const name = `flips by ${features.join(' + ')} (${one.word}):`
        const value = flip(one, features)
        const beside = flips(one, features)?.controls ?? { nulls: null }
        if (features === BOTH) {
          return atLeast(name, value, BARS.both, beside)
        }
        const met = value < flip(one, BOTH)
        return figureOf(name, value, { bar: 'less than both', met }, beside)
      }),
    ),
  )
  const output = variantOf(own[0].report, BOTH)?.output
  const words = own.length > 1 ? ' ΔC of prompts that ask for one word, on prompts that ask for any' : ''
  return claimOf(
    center
      ? 'The same of centred covariances: order and lexical carry the attention of the head together, and each a part.'
      : 'The head attends by an order and a lexical subspace: swapping either moves attention partly, both together most.',
    decisive,
    [
      {
        text: `random (Haar) subspaces of the joint rank flip at most ${percent(Math.max(...random))}`,
        // Subspaces of centred covariances have a higher rank, of which random ones move more.
        ...(center
          ? { bar: 'less than the joint swap', met: own.every((one, i) => random[i] < flip(one, BOTH)) }
          : { bar: `under ${percent(BARS.random)}`, met: random.every((x) => x < BARS.random) }),
      },
    ],
    [
      ...(words ? [`each figure is that of the word where it beats its null least:${words}`] : []),
      ...(output?.accuracy
        ? [
            `the answer is the likeliest on ${percent(output.accuracy.before.mean)} before and ${percent(output.accuracy.after.mean)} after the joint swap (${own[0].word})`,
          ]
        : []),
    ],
  )
}

async function cosineRows(
  result: Result,
  head: string,
  word: string,
  center: boolean,
  signal?: AbortSignal,
): Promise<Cell[][]> {
  const rows: Cell[][] = []
  for (const side of ['u', 'v'] as const) {
    const [a, b] = BOTH.map((contrast) => basisOf(result, head, contrast, side))
    const found = await principalCosines(a, b, signal)
    const nulls: number[][] = []
    for (let draw = 0; draw < NULLS; draw++) {
      const [c, e] = BOTH.map((contrast) => nullBasis(result.head(head).contrast(contrast), side, draw))
      nulls.push(await principalCosines(c, e, signal))
    }
    found.forEach((cosine, i) => {
      const drawn = nullFigures(nulls.map((own) => own[i] ?? 0))!
      rows.push([word, center, side === 'u' ? 'query' : 'key', i + 1, cosine, drawn.mean, drawn.p95])
    })
  }
  return rows
}

function swap(
  { model, head, heldOut }: BoxesExperiment,
  result: Result,
  { sizes, seed, signal }: FigureContext,
) {
  return intervene(model, heldOut, {
    result,
    heads: head,
    features: ['order', 'lexical', BOTH],
    // As in the paper, both are edited on the order prompts: a swap needs two keys of one run, and the lexical contrast has one.
    contrast: 'order',
    nulls: NULLS,
    randoms: sizes.randoms,
    batchSize: 64,
    seed,
    signal,
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
async function placeTables(
  { model, bindings, head, heldOut }: BoxesExperiment,
  { sizes, seed, signal }: FigureContext,
): Promise<{ tables: PaperFigure['tables']; claim: PaperClaim }> {
  const [{ plain, centred }] = bindings
  const { k, prompts, d } = await captureRows(model, heldOut, head, { signal })
  const labels = prompts.map((p) => `${p % PAIRS}`)
  const rows: Cell[][] = []
  const whole = separation(...halves({ rows: k, d, labels }))
  rows.push(['whole keys', null, d, 'between / total', whole.between, ...NO_CONTROLS])
  rows.push(['whole keys', null, d, 'nearest place right', whole.accuracy, ...NO_CONTROLS])
  const points: Cell[][] = []
  const decisive: DecisiveFigure[] = []
  for (const [center, result] of [
    [false, plain],
    [true, centred],
  ] as const) {
    for (const contrasts of [['order'], ['lexical'], BOTH]) {
      const name = contrasts.join(' + ')
      const features = contrasts.map((contrast) => result.head(head).contrast(contrast))
      const basis = unionOfFeatures(features, 'v')
      const [, rank] = basis.shape
      const random = { randoms: sizes.randoms, seed: derivedSeed(seed, 510) }
      const inside = measuredInside(features, 'v', random, (own) =>
        separation(...halves({ rows: coordinates(k, own), d: own.shape[1], labels })),
      )
      for (const [measure, { value, controls }] of [
        ['between / total', inside.between],
        ['nearest place right', inside.accuracy],
      ] as const) {
        rows.push([name, center, rank, measure, value, ...controlCells(value, controls)])
        if (center && name === 'order') {
          decisive.push(atLeast(`${measure}, keys in the order subspace:`, value, BARS.place, controls))
        }
      }
      if (contrasts === BOTH || rank === 0) {
        continue
      }
      const { scores, count } = await principalComponents(coordinates(k, basis), rank, 3, signal)
      labels.forEach((label, i) => {
        const at = (c: number) => (c < count ? scores[i * count + c] : null)
        points.push([name, center, label, at(0), at(1), at(2)])
      })
    }
  }
  const columns = ['subspace', 'centred', 'rank', 'measure', 'value', ...CONTROL_COLUMNS]
  return {
    claim: claimOf(
      'The place of the answer can be read off its key in the order subspace of centred covariances.',
      decisive,
    ),
    tables: [
      { name: 'places', columns, rows },
      { name: 'points', columns: ['subspace', 'centred', 'place', 'pc1', 'pc2', 'pc3'], rows: points },
    ],
  }
}
