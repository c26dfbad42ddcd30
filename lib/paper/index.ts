/**
 * Reproduces the paper's figures 2 to 10 on the bundled models: claims, the figures that decide them, and their nulls.
 */

import { throwIfAborted } from '../errors.js'
import { checkOptions } from '../validate.js'
import { versions } from '../versions.js'
import { type FigureContext, FULL_SIZES, type PaperFigure, type PaperSizes, QUICK_SIZES } from './figure.js'
import { figure2 } from './figures/figure-2.js'
import { figure3 } from './figures/figure-3.js'
import { figure4 } from './figures/figure-4.js'
import { figure5 } from './figures/figure-5.js'
import { figures6And7 } from './figures/figure-6-7.js'
import { figures8And9 } from './figures/figure-8-9.js'
import { figure10 } from './figures/figure-10.js'

interface Experiment {
  figures: readonly number[]
  run(context: FigureContext): Promise<PaperFigure>
}

const EXPERIMENTS: readonly Experiment[] = [
  { figures: [2], run: figure2 },
  { figures: [3], run: figure3 },
  { figures: [4], run: figure4 },
  { figures: [5], run: figure5 },
  { figures: [6, 7], run: figures6And7 },
  { figures: [8, 9], run: figures8And9 },
  { figures: [10], run: figure10 },
]

/** Figure numbers that can be requested. */
export const FIGURE_NUMBERS: readonly number[] = EXPERIMENTS.flatMap(({ figures }) => figures)

/** The experiments of the paper to run, and their sizes. */
export interface PaperOptions {
  /** Requested figures. Figures that share an experiment come together. Default: all. */
  only?: readonly number[]
  /** Uses smaller sizes for a quick look. */
  quick?: boolean
  /** Sizes that differ from the defaults, or from the smaller ones of `quick`. */
  sizes?: Partial<PaperSizes>
  /** Default 1. */
  seed?: number
  /**
   * A control of all experiments: exchanges positives and negatives at random before anything is decomposed. A claim
   * that still holds then is no evidence.
   */
  randomLabels?: boolean
  /** Ends the run with ERR_ABORTED. */
  signal?: AbortSignal
  /** Called before each experiment and after the last. */
  onProgress?: (progress: { figure: string; done: number; total: number }) => void
}

const OPTIONS = {
  only: true,
  quick: true,
  sizes: true,
  seed: true,
  randomLabels: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof PaperOptions, true>

/** The paper's experiments on the bundled models, with each claim and its outcome. */
export interface PaperReport {
  /** The paper whose claims are examined. */
  paper: 'arXiv 2602.04752'
  /** Version of qkspace that ran the experiments. */
  version: string
  /** Whether the smaller sizes were used. */
  quick: boolean
  /** Seed of all prompts, splits and controls. */
  seed: number
  /** Whether positives and negatives were exchanged at random before anything was decomposed. */
  randomLabels: boolean
  /** Sizes of the experiments. */
  sizes: PaperSizes
  /** The experiments, in the order of the paper. */
  figures: PaperFigure[]
}

/** Errors: ERR_TYPE, ERR_ARGUMENT, those of the analyses, ERR_ABORTED. The same options give the same report. */
export async function runPaper(options: PaperOptions = {}): Promise<PaperReport> {
  checkOptions(options, OPTIONS, 'runPaper')
  const { only = FIGURE_NUMBERS, quick = false, seed = 1, randomLabels = false, signal, onProgress } = options
  const sizes = { ...(quick ? QUICK_SIZES : FULL_SIZES), ...options.sizes }
  const context: FigureContext = { sizes, seed, randomLabels, signal }
  const chosen = EXPERIMENTS.filter(({ figures }) => figures.some((number) => only.includes(number)))
  const figures: PaperFigure[] = []
  for (const [done, { figures: numbers, run }] of chosen.entries()) {
    throwIfAborted(signal)
    onProgress?.({ figure: numbers.join('-'), done, total: chosen.length })
    figures.push(await run(context))
  }
  onProgress?.({ figure: '', done: chosen.length, total: chosen.length })
  const { qkspace: version } = versions()
  return { paper: 'arXiv 2602.04752', version, quick, seed, randomLabels, sizes, figures }
}
