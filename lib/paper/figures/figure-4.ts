/** Figure 4: swapping key coordinates between the attended token and one that matches the query in neither latent. */

import { bundledFile } from '../../bundled/files.js'
import { intervene } from '../../intervention/intervene.js'
import { openModel } from '../../model/model.js'
import { readToyConfig } from '../../toy/export.js'
import { retrievalPrompts } from '../../toy/retrieval.js'
import { ToyTask } from '../../toy/task.js'
import { derivedSeed, type FigureContext, NULLS, type PaperFigure } from '../figure.js'
import { percent } from '../percent.js'
import { EFFECT_COLUMNS, effectOf, effectRows, SWAP_COLUMNS, swapRows, variantOf } from '../swap-table.js'
import { decomposeToy } from '../toys.js'
import { atLeast, claimOf, type DecisiveFigure, figureOf } from '../verdict.js'

/** Bars: the whole swap moves nearly all of the origin's attention, either part about a third of it. */
const BARS = { both: 0.95, one: [0.2, 0.5] } as const
const BOTH = ['z1', 'z2']

export async function figure4(context: FigureContext): Promise<PaperFigure> {
  const { sizes, seed, signal } = context
  const model = await openModel(bundledFile('toy-task1-r5-r5-d16.onnx'))
  const result = await decomposeToy(model, context)
  const { prompts } = retrievalPrompts(
    new ToyTask(readToyConfig(model)),
    sizes.retrieval,
    derivedSeed(seed, 300),
  )
  const report = await intervene(model, prompts, {
    result,
    features: ['z1', 'z2', BOTH],
    // Prompts of the task itself: the token that matches the query, against those that match it in neither latent.
    contrast: 'retrieval',
    nulls: NULLS,
    randoms: sizes.randoms,
    batchSize: 128,
    seed,
    signal,
  })
  const moved = (features: readonly string[]) => {
    const found = effectOf(report, features, 'moved')
    const { mean: value = Number.NaN, low = Number.NaN } = found?.value ?? {}
    return { value, low, controls: found?.controls ?? { nulls: null, random: null } }
  }
  const random = (features: readonly string[]) =>
    variantOf(report, features, 'random')?.heads.L0H0.moved?.high ?? Number.NaN
  const [low, high] = BARS.one
  const part = (latent: string): DecisiveFigure => {
    const { value, controls } = moved([latent])
    const bar = `about a third, ${percent(low)} to ${percent(high)}`
    return figureOf(`moved by ${latent}:`, value, { bar, met: value >= low && value <= high }, controls)
  }
  const both = moved(BOTH)
  const haar = [['z1'], ['z2'], BOTH].map((features) => moved(features).controls.random ?? Number.NaN)
  return {
    figure: '4',
    title: 'Swaps of key coordinates (task 1, r1 = r2 = 5, d_head 16)',
    ...claimOf(
      'Attention moves fully only when both latents are swapped, partly with either; random subspaces of equal rank move less.',
      [
        atLeast('of the origin’s attention, moved by z1 + z2:', both.value, BARS.both, both.controls),
        part('z1'),
        part('z2'),
      ],
      [
        {
          text: `random (Haar) subspaces of the ranks of z1, z2, z1 + z2 move ${haar.map(percent).join(', ')}`,
          bar: 'intervals below the recovered ones’',
          // Clearly less: the intervals do not overlap.
          met: [['z1'], ['z2'], BOTH].every((features) => random(features) < moved(features).low),
        },
      ],
    ),
    tables: [
      { name: 'effects', columns: EFFECT_COLUMNS, rows: effectRows(report) },
      { name: 'swaps', columns: SWAP_COLUMNS, rows: swapRows(report, 'L0H0') },
    ],
  }
}
