/** Figures 6 and 7: a filter head keeps categories apart in their subspaces, and attends by them. */

import { coordinates, principalComponents, principalCosines } from '../../attribution/geometry.js'
import { bundledFile, bundledWords } from '../../bundled/files.js'
import { type CategoriesOptions, categoryPrompts } from '../../contrast/families/categories.js'
import { accumulate } from '../../covariance/accumulate.js'
import { disposeSums } from '../../covariance/sums.js'
import { intervene } from '../../intervention/intervene.js'
import type { Basis } from '../../math/basis.js'
import { openModel } from '../../model/model.js'
import { decompose } from '../../spectrum/decompose.js'
import type { Result } from '../../store/result.js'
import { basisOf } from '../binding.js'
import { type CapturedRows, captureRows } from '../capture-rows.js'
import { separation } from '../clusters.js'
import { CONTROL_COLUMNS, controlCells, measuredInside, NO_CONTROLS, unionOfFeatures } from '../controls.js'
import { type Cell, derivedSeed, type FigureContext, NULLS, PAPER_RULE, type PaperFigure } from '../figure.js'
import { guidanceNote } from '../guidance.js'
import { percent } from '../percent.js'
import { labelled } from '../random-labels.js'
import { EFFECT_COLUMNS, effectOf, effectRows, SWAP_COLUMNS, swapRows, variantOf } from '../swap-table.js'
import { atLeast, claimOf, figureOf } from '../verdict.js'

/** The bundled transformer's filter head (lib/bundled/README.md). */
const HEAD = 'L3H2'
/** Words of each category that subspaces and centroids are made from; the others are held out. */
const FITTED_WORDS = 7
const BARS = { accuracy: 0.9, flipped: 0.5, random: 0.1 }

export async function figures6And7(context: FigureContext): Promise<PaperFigure> {
  const { sizes, seed, signal } = context
  const model = await openModel(bundledFile('boxes.onnx'), {
    tokenizer: bundledFile('boxes.tokenizer.json'),
  })
  const { categories } = bundledWords()
  const names = Object.keys(categories)
  const part = (from: number, to?: number): CategoriesOptions['categories'] =>
    Object.fromEntries(names.map((name) => [name, categories[name].slice(from, to)]))
  const fitted = categoryPrompts({
    categories: part(0, FITTED_WORDS),
    prompts: sizes.categories,
    seed: derivedSeed(seed, 400),
  })
  const held = categoryPrompts({
    categories: part(FITTED_WORDS),
    prompts: sizes.heldOut,
    seed: derivedSeed(seed, 401),
  })
  const sums = await accumulate(model, labelled(fitted, context), { heads: HEAD, batchSize: 64, signal })
  const result = await decompose(sums, { rank: PAPER_RULE, nulls: NULLS, signal }).finally(() =>
    disposeSums(sums),
  )

  const subspaces = names.map((name) => result.head(HEAD).contrast(name))
  const union = unionOfFeatures(subspaces, 'v')
  const labels = (rows: CapturedRows) => rows.prompts.map((p) => names[p % names.length])
  const here = await captureRows(model, fitted, HEAD, { contrast: 'category', signal })
  const there = await captureRows(model, held, HEAD, { contrast: 'category', signal })
  const apart = (basis: Basis) => {
    const inside = (rows: CapturedRows) => ({
      rows: coordinates(rows.k, basis),
      d: basis.shape[1],
      labels: labels(rows),
    })
    return separation(inside(here), inside(there))
  }
  const [d, rank] = union.shape
  const inside = measuredInside(
    subspaces,
    'v',
    { randoms: sizes.randoms, seed: derivedSeed(seed, 402) },
    apart,
  )
  const whole = separation(
    { rows: here.k, d, labels: labels(here) },
    { rows: there.k, d, labels: labels(there) },
  )
  const MEASURES = [
    ['between / total', 'between'],
    ['nearest centroid right', 'accuracy'],
  ] as const

  const report = await intervene(model, held, {
    result,
    heads: HEAD,
    features: ['category', names],
    // Every prompt has two contrasts with the same term; one of them is enough.
    contrast: 'category',
    nulls: NULLS,
    randoms: sizes.randoms,
    batchSize: 64,
    seed,
    signal,
  })
  const flipped = effectOf(report, names, 'flipped')!
  const output = variantOf(report, names)!.output!
  const { random } = flipped.controls
  return {
    figure: '6-7',
    title: `Categories in the filter head ${HEAD} of the bundled transformer`,
    ...claimOf(
      'Categories separate in the subspaces of their contrasts, and swapping two items’ coordinates there moves attention from one to the other.',
      [
        atLeast(
          `nearest centroid right for words held out, in the joint subspace of rank ${rank} of ${d}:`,
          inside.accuracy.value,
          BARS.accuracy,
          inside.accuracy.controls,
        ),
        figureOf(
          'variance between categories there:',
          inside.between.value,
          {
            bar: 'more than in random (Haar) subspaces',
            met: inside.between.value > (inside.between.controls.random ?? Number.NaN),
          },
          inside.between.controls,
        ),
        atLeast(
          'prompts whose attention a swap there flips:',
          flipped.value.mean,
          BARS.flipped,
          flipped.controls,
        ),
      ],
      [
        {
          text: `random (Haar) subspaces of that rank flip ${random === null ? 'none measured, as the features span the whole head' : percent(random)}`,
          bar: `under ${percent(BARS.random)}`,
          met: random !== null && random < BARS.random,
        },
      ],
      [
        `the output follows only in part: after the swap the answer is the likeliest on ${percent(output.accuracy!.after.mean)}, the other item on ${percent(output.targetRate!.after.mean)}`,
      ],
    ),
    notes: [guidanceNote(HEAD)],
    tables: [
      {
        name: 'categories',
        columns: ['contrast', 'rank', 'total energy', 'score gap', 'first three singular values', 'terms'],
        rows: result.contrastNames.map((name) => {
          const { rank, totalEnergy, scoreGap, s, terms } = result.head(HEAD).contrast(name)
          return [
            name,
            rank,
            totalEnergy,
            scoreGap,
            [...s.subarray(0, 3)].map((x) => x.toPrecision(4)).join(' '),
            terms,
          ]
        }),
      },
      {
        name: 'separation',
        columns: ['subspace', 'rank', 'measure', 'value', ...CONTROL_COLUMNS],
        rows: [
          ...MEASURES.map(([name, measure]) => {
            const { value, controls } = inside[measure]
            return ['all categories', rank, name, value, ...controlCells(value, controls)]
          }),
          ...MEASURES.map(([name, measure]) => ['whole keys', d, name, whole[measure], ...NO_CONTROLS]),
        ],
      },
      {
        name: 'cosines',
        columns: ['category', 'other', 'largest cosine of key subspaces'],
        rows: await pairCosines(result, names, signal),
      },
      {
        name: 'points',
        columns: ['category', 'pc1', 'pc2', 'pc3'],
        rows: await points(there, union, labels(there), signal),
      },
      { name: 'effects', columns: EFFECT_COLUMNS, rows: effectRows(report) },
      { name: 'swaps', columns: SWAP_COLUMNS, rows: swapRows(report, HEAD) },
    ],
  }
}

async function pairCosines(
  result: Result,
  names: readonly string[],
  signal?: AbortSignal,
): Promise<Cell[][]> {
  const rows: Cell[][] = []
  for (const [i, a] of names.entries()) {
    for (const b of names.slice(i + 1)) {
      const [largest] = await principalCosines(basisOf(result, HEAD, a), basisOf(result, HEAD, b), signal)
      rows.push([a, b, largest ?? null])
    }
  }
  return rows
}

/** Held-out keys in the joint subspace, along its first principal components. */
async function points(
  { k }: CapturedRows,
  union: Basis,
  labels: readonly string[],
  signal?: AbortSignal,
): Promise<Cell[][]> {
  const { scores, count } = await principalComponents(coordinates(k, union), union.shape[1], 3, signal)
  return labels.map((label, i) => [
    label,
    ...[0, 1, 2].map((c) => (c < count ? scores[i * count + c] : null)),
  ])
}
