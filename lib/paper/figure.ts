/** What every experiment of the paper (arXiv 2602.04752) takes and gives. */

import type { PaperClaim } from './verdict.js'

/** The paper's rule of rank: it describes ΔC, and says nothing about noise. */
export const PAPER_RULE = { rule: 'energy', threshold: 0.99 } as const

/** Null subspaces beside every subspace: the fewest that have a 95th percentile. */
export const NULLS = 20

/** Plain data: `null` stands where there is no number. */
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

/** An experiment; `claim` to `decisive` are of the paper's own claim. */
export interface PaperFigure extends PaperClaim {
  /** Number in the paper, or a range as in `6-7`. */
  figure: string
  /** What the experiment shows, as a heading. */
  title: string
  /** What the paper does not claim, measured on the same data. */
  further?: PaperClaim[]
  /** What must be known before the figures are taken for findings. */
  notes?: string[]
  /** All figures that were measured. */
  tables: PaperTable[]
}

/** How much is drawn and measured. */
export interface PaperSizes {
  /** Prompts from which a toy is decomposed. */
  toyPrompts: number
  /** Figure 2: also the sizes of the paper that do not come with the package are trained. */
  trainToys: boolean
  /** Figure 3: tokens and queries, half of them held out. */
  clusters: number
  /** Figure 4: sequences. */
  retrieval: number
  /** Figures 6 and 7: prompts to decompose, and with words held out. */
  categories: number
  /** Figures 8 to 10: prompts a contrast, and the fixed words that they ask for. */
  boxes: number
  /** Figures 8 to 10: fixed words that prompts ask for. */
  boxesWords: number
  /** Held-out prompts about categories and boxes. */
  heldOut: number
  /** Random subspaces a control. */
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

/** A first look: the same experiments in a fraction of the time. */
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
  /** Every prompt, split and control follows from it. */
  seed: number
  /** Exchange positives and negatives at random before anything is decomposed: nothing is there to be found. */
  randomLabels: boolean
  signal?: AbortSignal
}

/** One of several seeds that follow from the one asked for, of 32 bits. */
export const derivedSeed = (seed: number, which: number): number => (seed + which) >>> 0
