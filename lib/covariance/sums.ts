/** Accumulated covariances of every attention site, with the rows for the rank test. */

import type { BackendDescription, Estimator } from '../backend/backend.js'
import type { Sharing } from '../capture/batch-dependence.js'
import type { PromptSetSummary } from '../contrast/prompt-set.js'
import type { Model } from '../model/model.js'
import { AttentionSums } from './attention-sums.js'
import type { KeepPlan, KeepSizes } from './kept/keep-plan.js'
import { KeptRows } from './kept/kept-rows.js'
import { RowIndex } from './kept/row-index.js'
import type { Shard } from './shard.js'
import type { HeadGroup, SiteSums } from './site-plan.js'

/** Accumulated covariances; `decompose` turns them into subspaces. */
export interface Sums {
  /** The model that was run. */
  model: Model
  /** The prompt set that was read. */
  prompts: PromptSetSummary
  /** Names of the contrasts, in the order of the sums. */
  contrasts: string[]
  /** How terms were averaged. */
  estimator: Estimator
  /** Number of prompts in a batch. */
  batchSize: number
  /** The shard whose batches were summed. Absent if all batches were. */
  shard?: Shard
  /** The backend that computed the sums. */
  backend: BackendDescription
  /**
   * How prompts were batched. A model whose rows depend on padding, or on the other prompts of a batch, limits this.
   */
  sharing: Sharing
  /** The sums of each attention site, in the order of the model. */
  sites: SiteSums[]
  /** Warnings: those of the model, and words that its tokenizer does not know. */
  warnings: string[]
}

/** Prepares attention sums for every group of heads whose attention pattern was found in the graph. */
export function measureAttention(sites: readonly SiteSums[], contrasts: number): void {
  for (const { site, groups } of sites) {
    if (!site.patternAxes) {
      continue
    }
    for (const group of groups) {
      group.attention = new AttentionSums(contrasts, group.heads.length)
    }
  }
}

/** Sizes of the rows of each group of heads. */
export function rowSizes(sites: readonly SiteSums[]): KeepSizes[] {
  return groupsOf({ sites }).map(({ covariance: { spec } }) => {
    return { heads: spec.heads, kvHeads: spec.kvHeads, headDim: spec.headDim }
  })
}

/** Groups of heads of all sites, in order. */
export function groupsOf({ sites }: { sites: readonly SiteSums[] }): HeadGroup[] {
  return sites.flatMap(({ groups }) => groups)
}

/** Prepares storage for the rank test's rows in every group of heads. */
export function keepRows(
  sites: readonly SiteSums[],
  { contrasts, definitions }: PromptSetSummary,
  estimator: Estimator,
  { folder, keeps }: Pick<KeepPlan, 'folder' | 'keeps'>,
): void {
  const counterfactual = contrasts.map((name) => definitions[name].rule === 'counterfactual')
  const index = new RowIndex(estimator, counterfactual, keeps)
  const sizes = rowSizes(sites)
  let g = 0
  for (const { site, groups } of sites) {
    for (const group of groups) {
      group.kept = new KeptRows(sizes[g++], index, folder, site.cross)
    }
  }
}

/** Frees the native memory of accumulated covariances. */
export function disposeSums(sums: Sums): void {
  for (const { groups } of sums.sites) {
    for (const { covariance, scaled, kept } of groups) {
      covariance.dispose()
      scaled?.dispose()
      kept?.dispose()
    }
  }
}
