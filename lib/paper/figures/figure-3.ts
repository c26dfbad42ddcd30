/** Figure 3: inside the recovered subspaces, keys and queries of a task 1 toy stand at the corners of a cube. */

import { coordinates, principalComponents } from '../../attribution/geometry.js'
import { bundledFile } from '../../bundled/files.js'
import { openModel } from '../../model/model.js'
import { readToyConfig } from '../../toy/export.js'
import { retrievalPrompts } from '../../toy/retrieval.js'
import { signs, ToyTask } from '../../toy/task.js'
import { captureRows } from '../capture-rows.js'
import { cornerFit, halves, separation } from '../clusters.js'
import { CONTROL_COLUMNS, controlCells, type Inside, measuredInside, unionOfFeatures } from '../controls.js'
import { type Cell, derivedSeed, type FigureContext, type PaperFigure } from '../figure.js'
import { decomposeToy } from '../toys.js'
import { atLeast, claimOf, weakest } from '../verdict.js'

/** Corners tell held-out rows apart, hold most of the variance, and are those of a parallelepiped; with their bars. */
const MEASURES = {
  'nearest corner right': 0.95,
  'between / total': 0.9,
  'additive in the signs': 0.95,
}
type Measure = keyof typeof MEASURES
const NAMES = Object.keys(MEASURES) as Measure[]
/** Points that are written, of each side and latent. */
const SHOWN = 400

export async function figure3(context: FigureContext): Promise<PaperFigure> {
  const { sizes, seed, signal } = context
  const model = await openModel(bundledFile('toy-task1-r3-r3-d16.onnx'))
  const config = readToyConfig(model)
  const result = await decomposeToy(model, context)
  const { prompts, latents } = retrievalPrompts(new ToyTask(config), sizes.clusters, derivedSeed(seed, 200))
  const captured = await captureRows(model, prompts, 'L0H0', { signal })
  const points: Cell[][] = []
  const rows: Cell[][] = []
  const found: { where: string; inside: Record<Measure, Inside> }[] = []
  for (const [latent, from, to] of [
    ['z1', 0, config.r1],
    ['z2', config.r1, config.r1 + config.r2],
  ] as const) {
    const subspace = result.head('L0H0').contrast(latent)
    const labels = captured.prompts.map((p) => signs(latents[p].subarray(from, to)))
    for (const [side, own, which] of [
      ['key', captured.k, 'v'],
      ['query', captured.q, 'u'],
    ] as const) {
      const random = { randoms: sizes.randoms, seed: derivedSeed(seed, 201) }
      const inside = measuredInside([subspace], which, random, (basis) => {
        const all = { rows: coordinates(own, basis), d: basis.shape[1], labels }
        const { between, accuracy } = separation(...halves(all))
        return {
          'nearest corner right': accuracy,
          'between / total': between,
          'additive in the signs': cornerFit(all),
        }
      })
      found.push({ where: `${side} side of ${latent}`, inside })
      const corners = new Set(labels).size
      for (const name of NAMES) {
        const { value, controls } = inside[name]
        rows.push([latent, side, subspace.rank, corners, name, value, ...controlCells(value, controls)])
      }
      const basis = unionOfFeatures([subspace], which)
      const [, rank] = basis.shape
      const { scores, count } = await principalComponents(coordinates(own, basis), rank, 3, signal)
      for (let i = 0; i < Math.min(SHOWN, labels.length); i++) {
        const at = (c: number) => (c < count ? scores[i * count + c] : null)
        points.push([latent, side, labels[i], at(0), at(1), at(2)])
      }
    }
  }
  const decisive = NAMES.map((name) =>
    weakest(
      found.map(({ where, inside }) =>
        atLeast(`${name}, ${where}:`, inside[name].value, MEASURES[name], inside[name].controls),
      ),
    ),
  )
  return {
    figure: '3',
    title: 'Keys and queries inside the recovered subspaces (task 1, r1 = r2 = 3, d_head 16)',
    ...claimOf(
      'Inside the subspace of a latent, keys and queries cluster at the corners of a hypercube.',
      decisive,
      [],
      ['each figure is that of the latent and side where it beats its null least'],
    ),
    tables: [
      {
        name: 'clusters',
        columns: ['latent', 'side', 'rank', 'corners', 'measure', 'value', ...CONTROL_COLUMNS],
        rows,
      },
      { name: 'points', columns: ['latent', 'side', 'signs', 'pc1', 'pc2', 'pc3'], rows: points },
    ],
  }
}
