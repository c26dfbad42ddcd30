/** What a result was made from and by which settings: the JSON document in its file's metadata. */

import type { ContrastSubspace } from './subspace.js'

/** What a result was made from; stored as JSON in the file's metadata. */
export interface ResultInfo {
  /** Marks the file as a result. */
  format: 'qkspace-result'
  /** Version of the layout. */
  formatVersion: 1
  /** The model's files. */
  model: {
    /** Path of the `.onnx` file. */
    path: string
    /** SHA-256 of the `.onnx` file, in hexadecimal digits. */
    sha256: string
    /** The `.onnx` file and the files of its external weights. */
    files: {
      /** Name of the file. */
      name: string
      /** SHA-256 of the file, in hexadecimal digits. */
      sha256: string
    }[]
    /** Of a model that was downloaded from the Hugging Face Hub; absent in results of earlier versions. */
    hub?: {
      /** Repository, as in `org/name`. */
      repo: string
      /** Branch, tag or commit that was asked for. */
      revision: string
      /** Commit that the revision stood for. */
      commit: string
      /** Path of the `.onnx` file in the repository. */
      file: string
    }
  }
  /** The prompt set. */
  prompts: {
    /** Path as given, or `memory`. */
    source: string
    /** SHA-256 of the file, or of the prompts as JSON lines. */
    sha256: string
    /** Number of prompts. */
    prompts: number
    /** Names, in order of first appearance. */
    contrasts: string[]
    /** How each contrast is defined, with its first prompt as an example. */
    definitions: Record<
      string,
      {
        /** `terms`, `counterfactual` or `labels`. */
        rule: string
        /** Prompts that take part. */
        prompts: number
        /** The first of them: its text or tokens, and its rule. */
        example: unknown
      }
    >
  }
  /** How terms were averaged: `per-query`, `per-pair` or `sum`. */
  estimator: string
  /** How prompts shared batches: 'padded', 'equal length' or 'alone'; absent in results of earlier versions. */
  sharing?: string
  /** Whether the product of the means was subtracted. */
  center: boolean
  /** The rule that chose the ranks. */
  rank: RankRule
  /** Seed of the decomposition and of the test of rank. */
  seed: number
  /** What computed the sums. */
  backend: {
    /** Name of the backend: `js`, `cpu` or `cuda`. */
    name: string
    /** Instruction set, as in `avx2`. */
    instructionSet: string
  }
  /** Versions of qkspace, Node and onnxruntime, by name. */
  versions: Record<string, string>
  /** The attention sites that were captured. */
  sites: SavedSite[]
  /** What may be wrong without being an error, where there was such. */
  warnings?: string[]
  /** By head and contrast, what is not a tensor. */
  heads: Record<string, Record<string, HeadInfo>>
}

/** A model as a reader knows it: the name of its file, and of the Hub's files, most of which are called alike, all of it. */
export function modelName({ path, hub }: Pick<ResultInfo['model'], 'path' | 'hub'>): string {
  return hub ? `${hub.repo}/${hub.file}` : path.split(/[\\/]/).at(-1)!
}

/** Head dimension d of a head, from its site; undefined where no site has it. */
export function headDimOf({ sites }: Pick<ResultInfo, 'sites'>, head: string): number | undefined {
  const [, kind, layer] = /^(?:(enc|dec|cross)\.)?L(\d+)H/.exec(head) ?? []
  return sites.find((site) => site.layer === Number(layer) && (site.kind ?? undefined) === kind)?.headDim
}

/**
 * How many components of ΔC are kept. `permutation` tests how many are more than exchanged prompts
 * show. `energy` keeps the fewest that hold a fraction of ||ΔC||_F^2, the paper's rule with 0.99.
 * `fixed` keeps a given number.
 */
export type RankRule =
  | {
      /** Name of the rule. */
      rule: 'permutation'
      /** Level of the test, and of the false discovery rate over heads and contrasts; default 0.05. */
      alpha?: number
      /** Draws that every head has, default 199; and that a head may have at most, default 99,999. */
      draws?: number
      /** Draws that a head may have at most; default 99,999. */
      mostDraws?: number
    }
  | {
      /** Name of the rule. */
      rule: 'energy'
      /** Fraction of ||ΔC||_F^2 that is kept, above 0 and at most 1. */
      threshold: number
    }
  | {
      /** Name of the rule. */
      rule: 'fixed'
      /** Components that are kept, at most d. */
      rank: number
    }

/** An attention site, as results keep it. */
export interface SavedSite {
  /** Place among the sites of its kind, in topological order. */
  layer: number
  /** `enc`, `dec` or `cross` in a model with several kinds, otherwise absent. */
  kind?: string
  /** Query heads. */
  heads: number
  /** Key heads; query head h reads key head floor(h / (heads / kvHeads)). */
  kvHeads: number
  /** Head dimension d. */
  headDim: number
  /** Or what kind of numbers: 'per head', 'per query', 'computed'. */
  scale: number | string
  /** Names of the hooks whose queries and keys were captured. */
  hooks: {
    /** Name of the queries. */
    q: string
    /** Name of the keys. */
    k: string
  }
  /** ||S - S'||_F / ||S||_F of the capture check, on the first prompt. */
  relativeError: number
  [more: string]: unknown
}

/**
 * What a result's metadata holds of one head and contrast: all of its subspace that is not a tensor.
 */
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
