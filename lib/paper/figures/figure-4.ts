/** Figure 4: swapping key coordinates between the attended token and one that matches the query in neither latent. */

import { bundledFile } from '../../bundled/files.js'
import { intervene } from '../../intervention/intervene.js'
import { openModel } from '../../model/model.js'
import { decomposeToy } from '../../toy/decompose.js'
import { readToyConfig } from '../../toy/export.js'
import { retrievalPrompts } from '../../toy/retrieval.js'
import { ToyTask } from '../../toy/task.js'
import { derivedSeed, type FigureContext, type PaperFigure, percent } from '../figure.js'
import { SWAP_COLUMNS, swapRows, variantOf } from '../swap-table.js'

/** Bars: the whole swap moves nearly all of the origin's attention, either part about a third of it. */
const BARS = { both: 0.95, one: [0.2, 0.5] } as const

export async function figure4({ sizes, seed, signal }: FigureContext): Promise<PaperFigure> {
  const model = await openModel(bundledFile('toy-task1-r5-r5-d16.onnx'))
  const result = await decomposeToy(model, {
    prompts: sizes.toyPrompts,
    seed: derivedSeed(seed, 100),
    signal,
  })
  const { prompts } = retrievalPrompts(
    new ToyTask(readToyConfig(model)),
    sizes.retrieval,
    derivedSeed(seed, 300),
  )
  const report = await intervene(model, prompts, {
    result,
    features: ['z1', 'z2', ['z1', 'z2']],
    contrast: 'retrieval',
    randoms: sizes.randoms,
    batchSize: 128,
    seed,
    signal,
  })
  const moved = (features: string[], kind?: 'random') => variantOf(report, features, kind).heads.L0H0.moved!
  const both = moved(['z1', 'z2'])
  const one = [moved(['z1']), moved(['z2'])]
  const random = [moved(['z1'], 'random'), moved(['z2'], 'random'), moved(['z1', 'z2'], 'random')]
  const [low, high] = BARS.one
  // Clearly less: the intervals are apart.
  const apart = [...one, both].every((own, i) => random[i].high < own.low)
  return {
    figure: '4',
    title: 'Swaps of key coordinates (task 1, r1 = r2 = 5, d_head 16)',
    claim:
      'Attention moves fully only when both latents are swapped, partly with either; random subspaces of equal rank move less.',
    held: both.mean >= BARS.both && one.every(({ mean }) => mean >= low && mean <= high) && apart,
    why: `of the origin's attention, z1 + z2 moves ${percent(both.mean)} (bar ${percent(BARS.both)}), z1 ${percent(one[0].mean)} and z2 ${percent(one[1].mean)} (bar: about a third, ${percent(low)} to ${percent(high)}); random subspaces of their ranks ${random.map(({ mean }) => percent(mean)).join(', ')} for z1, z2, both (bar: intervals below the recovered ones')`,
    tables: [{ name: 'swaps', columns: SWAP_COLUMNS, rows: swapRows(report, 'L0H0') }],
  }
}
