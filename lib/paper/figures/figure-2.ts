/** Figure 2: the ranks of ΔC(z1) and ΔC(z2) at 99% of the energy are the numbers of latents, while they fit. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { bundledFile, bundledToys } from '../../bundled/files.js'
import { openModel } from '../../model/model.js'
import { decomposeToy } from '../../toy/decompose.js'
import { exportToy, readToyRecord } from '../../toy/export.js'
import { TOY_DEFAULTS } from '../../toy/task.js'
import { trainToy } from '../../toy/train.js'
import { type Cell, derivedSeed, type FigureContext, PAPER_RULE, type PaperFigure } from '../figure.js'

/** Sizes of the paper that do not come with the package; r1 and r2 play the same part. */
const MISSING = [
  [3, 7],
  [5, 7],
  [7, 7],
] as const

export async function figure2(context: FigureContext): Promise<PaperFigure> {
  const rows: Cell[][] = []
  const spectrum: Cell[][] = []
  const add = async (name: string, file: string) => {
    const model = await openModel(file)
    const { config, accuracy } = readToyRecord(model)!
    const { sizes, seed, signal } = context
    const result = await decomposeToy(model, {
      prompts: sizes.toyPrompts,
      seed: derivedSeed(seed, 100),
      rank: PAPER_RULE,
      signal,
    })
    const fits = config.r1 + config.r2 <= config.dHead
    for (const [contrast, truth] of [
      ['z1', config.r1],
      ['z2', config.r2],
    ] as const) {
      const { rank, s, totalEnergy } = result.head('L0H0').contrast(contrast)
      rows.push([name, config.task, config.dHead, accuracy, contrast, truth, rank, fits, rank === truth])
      s.forEach((value, i) => {
        spectrum.push([name, contrast, i + 1, value, value ** 2 / totalEnergy])
      })
    }
  }
  for (const name of bundledToys()) await add(name.replace(/\.onnx$/, ''), bundledFile(name))
  if (context.sizes.trainToys) await trainMissing(context, add)
  const fitting = rows.filter(([, , , , , , , fits]) => fits)
  const recovered = fitting.filter((row) => row[8]).length
  const crowded = rows.filter((row) => !row[7])
  const short = crowded.filter((row) => !row[8])
  return {
    figure: '2',
    title: 'Ranks of the latents of toy models',
    claim:
      'The rank of ΔC at 99% of the energy is the number of latents where all fit into the head; where they do not, they are in superposition.',
    held: recovered === fitting.length && short.length > 0,
    why: `${recovered} of ${fitting.length} ranks recovered exactly where r1 + r2 fits (bar: all); with d_head 8, found ${crowded.map((row) => `${row[6]} for ${row[5]}`).join(', ')} (bar: not all equal)`,
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
          'rank',
          'fits',
          'recovered',
        ],
        rows,
      },
      {
        name: 'spectrum',
        columns: ['model', 'contrast', 'index', 'singular value', 'energy fraction'],
        rows: spectrum,
      },
    ],
  }
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
