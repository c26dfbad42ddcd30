/** Types that all experiments of the paper (arXiv 2602.04752) share. */

import type { PaperClaim } from './verdict.js'

/** The paper's rank rule. It describes ΔC, and does not account for noise. */
export const PAPER_RULE = { rule: 'energy', threshold: 0.99 } as const

/** Number of null subspaces beside every subspace: the fewest that have a 95th percentile. */
export const NULLS = 20

/** Plain data, with `null` for a missing number. */
export type Cell = string | number | boolean | null

/** Figures of an experiment; `qkspace paper` writes each as CSV, and all of them in one JSON document. */
export interface PaperTable {
  /** Name of the table, and of its files. */
  name: string
  /** Names of the columns. */
  columns: string[]
  /** Cells by row, in the order of the columns. */
  rows: Cell[][]
}

/** An experiment. The fields from `claim` to `decisive` refer to the paper's own claim. */
export interface PaperFigure extends PaperClaim {
  /** Number in the paper, or a range as in `6-7`. */
  figure: string
  /** What the experiment shows, as a heading. */
  title: string
  /** Further claims, not made in the paper, measured on the same data. */
  further?: PaperClaim[]
  /** Caveats for reading the figures as findings. */
  notes?: string[]
  /** All figures that were measured. */
  tables: PaperTable[]
}

/** Sizes of the experiments. */
export interface PaperSizes {
  /** Prompts from which a toy is decomposed. */
  toyPrompts: number
  /** Figure 2: whether to train the paper's other sizes too, which the package does not contain. */
  trainToys: boolean
  /** Figure 3: number of tokens and queries, half of them held out. */
  clusters: number
  /** Figure 4: number of sequences. */
  retrieval: number
  /** Figures 6 and 7: number of prompts to decompose, and of prompts with held-out words. */
  categories: number
  /** Figures 8 to 10: number of prompts per contrast. */
  boxes: number
  /** Figures 8 to 10: number of fixed words that prompts ask for. */
  boxesWords: number
  /** Held-out prompts about categories and boxes. */
  heldOut: number
  /** Number of random subspaces per control. */
  randoms: number
}

export const FULL_SIZES: PaperSizes = {
  toyPrompts: 5000,
  trainToys: true,
  clusters: 2000,
  retrieval: 5000,
  categories: 1600,
  boxes: 1000,
  boxesWords: 3,
  heldOut: 300,
  randoms: 6,
}

/** Sizes for a quick look: the same experiments in a fraction of the time. */
export const QUICK_SIZES: PaperSizes = {
  toyPrompts: 1000,
  trainToys: false,
  clusters: 500,
  retrieval: 500,
  categories: 480,
  boxes: 400,
  boxesWords: 1,
  heldOut: 150,
  randoms: 4,
}

export interface FigureContext {
  sizes: PaperSizes
  /** Seed of all prompts, splits and controls. */
  seed: number
  /**
   * Exchanges positives and negatives at random before anything is decomposed, so that there is no effect to find.
   */
  randomLabels: boolean
  signal?: AbortSignal
}

/** One of several 32-bit seeds derived from the given one. */
export const derivedSeed = (seed: number, which: number): number => (seed + which) >>> 0
