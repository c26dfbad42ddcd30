/** Figure 3: inside the recovered subspaces, keys and queries of a task 1 toy stand at the corners of a cube. */

import { coordinates, principalComponents } from '../../attribution/geometry.js'
import { bundledFile } from '../../bundled/files.js'
import { openModel } from '../../model/model.js'
import { decomposeToy } from '../../toy/decompose.js'
import { readToyConfig } from '../../toy/export.js'
import { retrievalPrompts } from '../../toy/retrieval.js'
import { signs, ToyTask } from '../../toy/task.js'
import { captureRows } from '../capture-rows.js'
import { cornerFit, halves, separation } from '../clusters.js'
import { type Cell, derivedSeed, type FigureContext, type PaperFigure, percent } from '../figure.js'

/** Bars: corners tell held-out rows apart, hold most of the variance, and are those of a parallelepiped. */
const BARS = { accuracy: 0.95, between: 0.9, cube: 0.95 }
/** Points that are written, of each side and latent. */
const SHOWN = 400

export async function figure3({ sizes, seed, signal }: FigureContext): Promise<PaperFigure> {
  const model = await openModel(bundledFile('toy-task1-r3-r3-d16.onnx'))
  const config = readToyConfig(model)
  const result = await decomposeToy(model, {
    prompts: sizes.toyPrompts,
    seed: derivedSeed(seed, 100),
    signal,
  })
  const { prompts, latents } = retrievalPrompts(new ToyTask(config), sizes.clusters, derivedSeed(seed, 200))
  const captured = await captureRows(model, prompts, 'L0H0', { signal })
  const points: Cell[][] = []
  const measures: Cell[][] = []
  for (const [latent, from, to] of [
    ['z1', 0, config.r1],
    ['z2', config.r1, config.r1 + config.r2],
  ] as const) {
    const { u, v, rank, headDim } = result.head('L0H0').contrast(latent)
    const labels = captured.prompts.map((p) => signs(latents[p].subarray(from, to)))
    for (const [side, rows, data] of [
      ['key', captured.k, v],
      ['query', captured.q, u],
    ] as const) {
      const inside = coordinates(rows, { data, shape: [headDim, rank] })
      const { scores, count } = await principalComponents(inside, rank, 3, signal)
      const all = { rows: scores, d: count, labels }
      const { between, accuracy } = separation(...halves(all))
      measures.push([latent, side, rank, new Set(labels).size, between, accuracy, cornerFit(all)])
      for (let i = 0; i < Math.min(SHOWN, labels.length); i++) {
        const at = (c: number) => (c < count ? scores[i * count + c] : null)
        points.push([latent, side, labels[i], at(0), at(1), at(2)])
      }
    }
  }
  const least = (column: number) => Math.min(...measures.map((row) => row[column] as number))
  const [between, accuracy, cube] = [least(4), least(5), least(6)]
  return {
    figure: '3',
    title: 'Keys and queries inside the recovered subspaces (task 1, r1 = r2 = 3, d_head 16)',
    claim: 'Inside the subspace of a latent, keys and queries cluster at the corners of a hypercube.',
    held: between >= BARS.between && accuracy >= BARS.accuracy && cube >= BARS.cube,
    why: `least over both latents and sides: nearest corner right for ${percent(accuracy)} of held-out rows (bar ${percent(BARS.accuracy)}), variance between corners ${percent(between)} of the total (bar ${percent(BARS.between)}), corners are a sum of one effect a sign to ${percent(cube)} (bar ${percent(BARS.cube)})`,
    tables: [
      {
        name: 'clusters',
        columns: [
          ...['latent', 'side', 'rank', 'corners', 'between / total', 'nearest corner right'],
          'additive in the signs',
        ],
        rows: measures,
      },
      { name: 'points', columns: ['latent', 'side', 'signs', 'pc1', 'pc2', 'pc3'], rows: points },
    ],
  }
}
