/** Figures 6 and 7: a filter head keeps categories apart in their subspaces, and attends by them. */

import { coordinates, principalComponents, principalCosines } from '../../attribution/geometry.js'
import { bundledFile, bundledWords } from '../../bundled/files.js'
import { type CategoriesOptions, categoryPrompts } from '../../contrast/families/categories.js'
import { accumulate, disposeSums } from '../../covariance/accumulate.js'
import { intervene } from '../../intervention/intervene.js'
import { type Basis, randomBasis, unionBasis } from '../../math/basis.js'
import { seededRandom } from '../../math/random.js'
import { openModel } from '../../model/model.js'
import { decompose } from '../../spectrum/decompose.js'
import type { Result } from '../../store/result.js'
import { basisOf } from '../binding.js'
import { type CapturedRows, captureRows } from '../capture-rows.js'
import { separation } from '../clusters.js'
import {
  type Cell,
  derivedSeed,
  type FigureContext,
  PAPER_RULE,
  type PaperFigure,
  percent,
} from '../figure.js'
import { SWAP_COLUMNS, swapRows, variantOf } from '../swap-table.js'

/** The bundled transformer's filter head (lib/bundled/README.md). */
const HEAD = 'L3H2'
/** Words of each category that subspaces and centroids are made from; the others are held out. */
const FITTED_WORDS = 7
const BARS = { accuracy: 0.9, flipped: 0.5, random: 0.1 }

export async function figures6And7({ sizes, seed, signal }: FigureContext): Promise<PaperFigure> {
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
  const sums = await accumulate(model, fitted, { heads: HEAD, batchSize: 64, nullBytes: 0, signal })
  const result = await decompose(sums, { rank: PAPER_RULE, signal }).finally(() => disposeSums(sums))

  const union = unionOfKeys(result, names)
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
  const own = apart(union)
  const random = seededRandom(derivedSeed(seed, 402))
  const drawn = Array.from({ length: sizes.randoms }, () => apart(randomBasis(d, rank, random)))
  const mean = (of: 'between' | 'accuracy') => drawn.reduce((sum, x) => sum + x[of], 0) / drawn.length
  const whole = apart(randomBasis(d, d, random))

  const report = await intervene(model, held, {
    result,
    heads: HEAD,
    features: ['category', names],
    // Every prompt has two contrasts with the same term; one of them is enough.
    contrast: 'category',
    randoms: sizes.randoms,
    batchSize: 64,
    seed,
    signal,
  })
  const flip = (kind?: 'random') => variantOf(report, names, kind).heads[HEAD]?.flipRate
  const flipped = flip()!.mean
  const output = variantOf(report, names).output!
  const control = flip('random')?.mean
  return {
    figure: '6-7',
    title: `Categories in the filter head ${HEAD} of the bundled transformer`,
    claim:
      'Categories separate in the subspaces of their contrasts, and swapping two items’ coordinates there moves attention from one to the other.',
    held:
      own.accuracy >= BARS.accuracy &&
      own.between > mean('between') &&
      flipped >= BARS.flipped &&
      control !== undefined &&
      control < BARS.random,
    why: `in the joint subspace (rank ${rank} of ${d}) the nearest centroid is right for ${percent(own.accuracy)} of words held out (bar ${percent(BARS.accuracy)}) and ${percent(own.between)} of the variance lies between categories (random subspaces of that rank ${percent(mean('between'))}; bar: less); swapping there flips attention on ${percent(flipped)} of the prompts (bar ${percent(BARS.flipped)}), in random subspaces of that rank on ${control === undefined ? 'none measured, as the features span the whole head' : percent(control)} (bar: under ${percent(BARS.random)}); the output follows only in part: after the swap the answer is the likeliest on ${percent(output.accuracy!.after.mean)}, the other item on ${percent(output.targetRate!.after.mean)}`,
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
        columns: ['subspace', 'rank', 'between / total', 'nearest centroid right'],
        rows: [
          ['all categories', rank, own.between, own.accuracy],
          [`random, mean of ${drawn.length}`, rank, mean('between'), mean('accuracy')],
          ['whole keys', d, whole.between, whole.accuracy],
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
      { name: 'swaps', columns: SWAP_COLUMNS, rows: swapRows(report, HEAD) },
    ],
  }
}

const unionOfKeys = (result: Result, names: readonly string[]) =>
  unionBasis(names.map((name) => basisOf(result, HEAD, name)))

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
