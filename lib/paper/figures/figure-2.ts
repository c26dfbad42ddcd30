/**
 * Figure 2: the ranks of ΔC(z1) and ΔC(z2) at 99% of the energy are the numbers of latents, while they fit. So they are for
 * random labels; the ranks by the test are not.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { bundledFile, bundledToys } from '../../bundled/files.js'
import { disposeSums } from '../../covariance/sums.js'
import { percentile } from '../../math/bootstrap.js'
import { nullFigures } from '../../math/null-limit.js'
import { type Model, openModel } from '../../model/model.js'
import { decompose } from '../../spectrum/decompose.js'
import { nullEnergyRanks } from '../../spectrum/nulls/energy-ranks.js'
import type { Result } from '../../store/result.js'
import { exportToy, readToyRecord } from '../../toy/export.js'
import { TOY_DEFAULTS } from '../../toy/task.js'
import { trainToy } from '../../toy/train.js'
import { type Cell, type FigureContext, NULLS, PAPER_RULE, type PaperFigure } from '../figure.js'
import { percent } from '../percent.js'
import { accumulateToy } from '../toys.js'
import { atLeast, claimOf, weakest } from '../verdict.js'

/** Sizes of the paper that do not come with the package; r1 and r2 play the same part. */
const MISSING = [
  [3, 7],
  [5, 7],
  [7, 7],
] as const

const TEST = { rule: 'permutation' } as const
const LATENTS = ['z1', 'z2'] as const

/** One contrast of one toy. */
interface Ranked {
  model: string
  task: number
  dHead: number
  accuracy: number
  contrast: string
  truth: number
  fits: boolean
  energy: number
  permutation: number
  /** Energy ranks of the null matrices, by draw. */
  nullEnergy: number[]
  /** Ranks by the test of prompts with exchanged labels, by set. */
  nullPermutation: number[]
}

export async function figure2(context: FigureContext): Promise<PaperFigure> {
  const found: Ranked[] = []
  const spectrum: Cell[][] = []
  const add = async (name: string, file: string) => {
    found.push(...(await rankedToy(name, await openModel(file), context, spectrum)))
  }
  for (const name of bundledToys()) {
    await add(name.replace(/\.onnx$/, ''), bundledFile(name))
  }
  if (context.sizes.trainToys) {
    await trainMissing(context, add)
  }
  const fitting = found.filter(({ fits }) => fits)
  const crowded = found.filter(({ fits }) => !fits)
  const part = (right: (one: Ranked) => boolean) => fitting.filter(right).length / fitting.length
  const byEnergy = nullFigures(
    Array.from({ length: NULLS }, (_, draw) => part((one) => one.nullEnergy[draw] === one.truth)),
  )
  const sets = found.flatMap(({ nullPermutation }) => nullPermutation)
  const byTest = nullFigures(
    fitting.flatMap((one) => one.nullPermutation.map((rank) => (rank === one.truth ? 1 : 0))),
  )
  const superposed = {
    text: `with d_head 8 the energy rule finds ${crowded.map((one) => `${one.energy} for ${one.truth}`).join(', ')}`,
    bar: 'not all equal',
    met: crowded.some((one) => one.energy !== one.truth),
  }
  const empty = sets.filter((rank) => rank === 0).length
  return {
    figure: '2',
    title: 'Ranks of the latents of toy models',
    ...claimOf(
      'The rank of ΔC at 99% of the energy is the number of latents where all fit into the head; where they do not, they are in superposition.',
      [
        weakest(
          fitting.map((one) => {
            const recovered = (rank: number) => (rank === one.truth ? 1 : 0)
            const nulls = nullFigures(one.nullEnergy.map(recovered))
            const name = `energy rank is r, ${one.contrast} of ${one.model}:`
            return atLeast(name, recovered(one.energy), 1, { nulls }, 'sign-flipped ΔC')
          }),
        ),
      ],
      [superposed],
      [
        `the figure is that of the contrast where random labels do best: 100% where the rank is the number of latents, 0% elsewhere; of all ${fitting.length} contrasts where r1 + r2 fits, ${percent(part((one) => one.energy === one.truth))} are recovered exactly, and ${percent(byEnergy?.mean ?? Number.NaN)} on average with random labels`,
        'keys of these contrasts differ in nothing but the latent, so the energy rule counts the dimensions of the latent whatever the labels say',
      ],
    ),
    further: [
      claimOf(
        'The rank by the permutation test is the number of latents where all fit, and 0 for random labels.',
        [
          atLeast(
            `permutation ranks recovered exactly, of ${fitting.length} where r1 + r2 fits:`,
            part((one) => one.permutation === one.truth),
            0.9,
            { nulls: byTest },
            'prompts with exchanged labels',
          ),
        ],
        [
          {
            text: `${empty} of ${sets.length} contrasts of exchanged prompts have permutation rank 0`,
            bar: 'at least 80%; 95% are expected',
            met: empty >= 0.8 * sets.length,
          },
        ],
      ),
    ],
    tables: [
      {
        name: 'ranks',
        columns: [
          'model',
          'task',
          'd_head',
          'accuracy',
          'contrast',
          'true rank',
          'fits',
          'rank',
          'recovered',
          'null draws of that rank',
          'null draws',
          'null rank, median',
          'null rank, least',
          'null rank, most',
          'permutation rank',
          'permutation recovered',
          'permutation rank, exchanged labels',
        ],
        rows: found.map((one) => [
          one.model,
          one.task,
          one.dHead,
          one.accuracy,
          one.contrast,
          one.truth,
          one.fits,
          one.energy,
          one.energy === one.truth,
          one.nullEnergy.filter((rank) => rank === one.energy).length,
          one.nullEnergy.length,
          medianOf(one.nullEnergy),
          Math.min(...one.nullEnergy),
          Math.max(...one.nullEnergy),
          one.permutation,
          one.permutation === one.truth,
          one.nullPermutation.join(' '),
        ]),
      },
      {
        name: 'spectrum',
        columns: ['model', 'contrast', 'index', 'singular value', 'energy fraction'],
        rows: spectrum,
      },
    ],
  }
}

const medianOf = (ranks: readonly number[]): number => percentile(Float64Array.from(ranks).sort(), 0.5)

async function rankedToy(
  name: string,
  model: Model,
  context: FigureContext,
  spectrum: Cell[][],
): Promise<Ranked[]> {
  const { signal } = context
  const { config, accuracy } = readToyRecord(model)!
  const sums = await accumulateToy(model, context)
  let energy: Result
  let test: Result
  const nulls: number[][] = []
  try {
    energy = await decompose(sums, { rank: PAPER_RULE, signal })
    test = await decompose(sums, { rank: TEST, nulls: 0, signal })
    const [{ groups }] = sums.sites
    for (const contrast of LATENTS) {
      const { threshold } = PAPER_RULE
      const index = sums.contrasts.indexOf(contrast)
      const [own] = await nullEnergyRanks(sums, groups[0], index, { count: NULLS, threshold, signal })
      nulls.push(own)
    }
  } finally {
    disposeSums(sums)
  }
  const exchanged = await exchangedRanks(model, context)
  const rankOf = (result: Result, contrast: string) => result.head('L0H0').contrast(contrast).rank
  return LATENTS.map((contrast, i) => {
    const { s, totalEnergy } = energy.head('L0H0').contrast(contrast)
    s.forEach((value, index) => {
      spectrum.push([name, contrast, index + 1, value, value ** 2 / totalEnergy])
    })
    return {
      model: name,
      task: config.task,
      dHead: config.dHead,
      accuracy,
      contrast,
      truth: i === 0 ? config.r1 : config.r2,
      fits: config.r1 + config.r2 <= config.dHead,
      energy: rankOf(energy, contrast),
      permutation: rankOf(test, contrast),
      nullEnergy: nulls[i],
      nullPermutation: exchanged.map((result) => rankOf(result, contrast)),
    }
  })
}

/** The test on prompts with exchanged labels; more sets where there are fewer models, so that there are 20 in all. */
async function exchangedRanks(model: Model, context: FigureContext): Promise<Result[]> {
  const found: Result[] = []
  for (let set = 0; set < (context.sizes.trainToys ? 1 : 2); set++) {
    const sums = await accumulateToy(model, context, set)
    try {
      found.push(await decompose(sums, { rank: TEST, nulls: 0, signal: context.signal }))
    } finally {
      disposeSums(sums)
    }
  }
  return found
}

/** Trains the other sizes, about ten seconds each; the same seed as the bundled ones. */
async function trainMissing(
  { signal }: FigureContext,
  add: (name: string, file: string) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'qkspace-paper-'))
  try {
    for (const task of [1, 2] as const) {
      for (const [r1, r2] of MISSING) {
        const name = `toy-task${task}-r${r1}-r${r2}-d16`
        const file = path.join(folder, `${name}.onnx`)
        await exportToy(
          file,
          await trainToy({ ...TOY_DEFAULTS, task, r1, r2, dHead: 16, seed: 1 }, { signal }),
        )
        await add(`${name} (trained here)`, file)
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
