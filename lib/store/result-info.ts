/** Inputs and settings of a result: the JSON document in the metadata of its file. */

import type { ContrastSubspace } from './subspace.js'

/** Inputs and settings of a result; stored as JSON in the file's metadata. */
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
    /**
     * Source of a model that was downloaded from the Hugging Face Hub. Absent in results of earlier versions.
     */
    hub?: {
      /** Repository, as in `org/name`. */
      repo: string
      /** Branch, tag or commit that was requested. */
      revision: string
      /** Commit that the revision resolved to. */
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
        /** Number of prompts with this contrast. */
        prompts: number
        /** The first of these prompts: its text or tokens, and its rule. */
        example: unknown
      }
    >
  }
  /** How terms were averaged: `per-query`, `per-pair` or `sum`. */
  estimator: string
  /** How prompts were batched: 'padded', 'equal length' or 'alone'. Absent in results of earlier versions. */
  sharing?: string
  /** Whether the product of the means was subtracted. */
  center: boolean
  /** The rule that chose the ranks. */
  rank: RankRule
  /** Seed of the decomposition and of the rank test. */
  seed: number
  /** The backend that computed the sums. */
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
  /** Warnings; absent if there were none. */
  warnings?: string[]
  /** All parts of subspaces that are not tensors, by head and contrast. */
  heads: Record<string, Record<string, HeadInfo>>
}

/**
 * A model's name for readers: the name of its file. For a model of the Hub, the whole path, since most files there
 * have the same name.
 */
export function modelName({ path, hub }: Pick<ResultInfo['model'], 'path' | 'hub'>): string {
  return hub ? `${hub.repo}/${hub.file}` : path.split(/[\\/]/).at(-1)!
}

/** Head dimension d of a head, from its site. Undefined if no site has the head. */
export function headDimOf({ sites }: Pick<ResultInfo, 'sites'>, head: string): number | undefined {
  const [, kind, layer] = /^(?:(enc|dec|cross)\.)?L(\d+)H/.exec(head) ?? []
  return sites.find((site) => site.layer === Number(layer) && (site.kind ?? undefined) === kind)?.headDim
}

/**
 * Rule that chooses how many components of ΔC are kept. `permutation` keeps the components that are larger than those
 * of exchanged prompts. `energy` keeps the fewest components that hold a fraction of ||ΔC||_F^2; the paper uses 0.99.
 * `fixed` keeps a given number.
 */
export type RankRule =
  | {
      /** Name of the rule. */
      rule: 'permutation'
      /** Level of the test, and of the false discovery rate over heads and contrasts; default 0.05. */
      alpha?: number
      /** Number of draws of every head; default 199. */
      draws?: number
      /** Most draws of a head; default 99,999. */
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
      /** Number of components that are kept, at most d. */
      rank: number
    }

/** An attention site, as stored in results. */
export interface SavedSite {
  /** Index among the sites of its kind, in topological order. */
  layer: number
  /** `enc`, `dec` or `cross` in a model with several kinds, otherwise absent. */
  kind?: string
  /** Query heads. */
  heads: number
  /** Key heads; query head h reads key head floor(h / (heads / kvHeads)). */
  kvHeads: number
  /** Head dimension d. */
  headDim: number
  /** The common factor of the scores, or the kind of scale: 'per head', 'per query', 'computed'. */
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

/** Metadata of one head and contrast: all parts of its subspace that are not tensors. */
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
