/** What a result was made from and by which settings: the JSON document in its file's metadata. */

import type { ContrastSubspace } from './subspace.js'

/** What a result was made from; stored as JSON in the file's metadata. */
export interface ResultInfo {
  format: 'qkspace-result'
  formatVersion: 1
  model: {
    path: string
    sha256: string
    files: { name: string; sha256: string }[]
    /** Of a model that was downloaded from the Hugging Face Hub; absent in results of earlier versions. */
    hub?: { repo: string; revision: string; commit: string; file: string }
  }
  prompts: {
    source: string
    sha256: string
    prompts: number
    contrasts: string[]
    /** How each contrast is defined, with its first prompt as an example. */
    definitions: Record<string, { rule: string; prompts: number; example: unknown }>
  }
  estimator: string
  /** How prompts shared batches: 'padded', 'equal length' or 'alone'; absent in results of earlier versions. */
  sharing?: string
  center: boolean
  rank: RankRule
  seed: number
  backend: { name: string; instructionSet: string }
  versions: Record<string, string>
  sites: SavedSite[]
  /** What may be wrong without being an error, where there was such. */
  warnings?: string[]
  /** By head and contrast, what is not a tensor. */
  heads: Record<string, Record<string, HeadInfo>>
}

export type RankRule =
  | {
      rule: 'permutation'
      /** Level of the test, and of the false discovery rate over heads and contrasts; default 0.05. */
      alpha?: number
      /** Draws that every head has, default 199; and that a head may have at most, default 99,999. */
      draws?: number
      mostDraws?: number
    }
  | { rule: 'energy'; threshold: number }
  | { rule: 'fixed'; rank: number }

export interface SavedSite {
  layer: number
  kind?: string
  heads: number
  kvHeads: number
  headDim: number
  /** Or what kind of numbers: 'per head', 'per query', 'computed'. */
  scale: number | string
  /** Names of the hooks whose queries and keys were captured. */
  hooks: { q: string; k: string }
  /** ||S - S'||_F / ||S||_F of the capture check, on the first prompt. */
  relativeError: number
  [more: string]: unknown
}

export type HeadInfo = Pick<
  ContrastSubspace,
  | 'rank'
  | 'totalEnergy'
  | 'scoreGap'
  | 'errorBound'
  | 'converged'
  | 'terms'
  | 'skipped'
  | 'attention'
  | 'heldOut'
  | 'test'
>
