/** The report of a prompt set's check. */

/** Probability of a false warning in a contrast whose measures are all balanced, divided over its measures. */
export const LEVEL = 0.01

/** Number of draws of a null distribution. */
export const DRAWS = 1999

/** Most units of a contrast that are measured; larger sets are sampled. */
export const MOST_UNITS = 4000

/** Smallest imbalances that give a warning, however significant they are. */
export const MINIMAL = {
  /** Distance of an AUC from 0.5. */
  auc: 0.05,
  /** Distance of a total variation distance from its mean under the null. */
  totalVariation: 0.05,
  /** Difference between the rate at which neighbouring labels agree and its expectation. */
  rate: 0.05,
  /** Total variation distance between class frequencies and equal frequencies, less its expectation by chance. */
  classFrequency: 0.2,
  /** Share of surplus units, because prompts share material, less its expectation by chance. */
  sharedMaterial: 0.05,
  /** Share of label sequences whose length no other sequence has. */
  aloneInLength: 0.1,
  /** Share of label queries that have no positive or no negative key. */
  skippedQueries: 0.1,
} as const

/**
 * What a measure compares between positive and negative keys, or along a label sequence. Spreads
 * compare how widely positions and distances vary; `by label` compares labels with one another.
 */
export type MeasureName =
  | 'position'
  | 'position spread'
  | 'relative position'
  | 'distance'
  | 'distance spread'
  | 'token'
  | 'query token'
  | 'length'
  | 'position by label'
  | 'token by label'
  | 'label drift'
  | 'label repetition'

/** One imbalance, compared with randomly swapped sides of whole units. */
export interface Measure {
  /** Name of the measure. */
  name: MeasureName
  /**
   * `auc`: how often a positive key's value is larger than a negative key's, ties counted half; balanced is 0.5.
   * `totalVariation`: total variation distance of two distributions, 0 to 1; balanced is 0.
   * `rate`: observed minus expected share of neighbours with the same label; balanced is 0.
   */
  scale: 'auc' | 'totalVariation' | 'rate'
  /** Size of the imbalance, in the units of `scale`. */
  size: number
  /** Standard error over units; only for `auc` and `rate`. */
  standardError?: number
  /** Mean of `size` under the null. For `auc`, the mean of 0.5 + |size - 0.5|. */
  chance: number
  /** 99th percentile of the same. */
  chance99: number
  /** P-value: share of draws, including the observed set, whose squared imbalance is at least the observed one. */
  p: number
  /** Number of measured units. */
  units: number
}

/** Subject of a finding: an imbalance of the contrast, or prompts that are not independent or too few. */
export type FindingKind =
  | 'position'
  | 'distance'
  | 'token'
  | 'length'
  | 'shared keys'
  | 'units'
  | 'shared material'
  | 'duplicates'
  | 'ids'
  | 'class frequency'
  | 'label drift'
  | 'label repetition'
  | 'sequence lengths'
  | 'skipped queries'

/** A finding: something that a prompt set contrasts besides its feature, or that weakens the rank test. */
export interface Finding {
  /** Subject of the finding. */
  kind: FindingKind
  /** A note states what is usual for this form of contrast, or what matters only for some options. */
  level: 'warning' | 'note'
  /** One or two sentences with the size, and its expectation by chance. */
  message: string
  /** The numbers of the message, by name. */
  size: Record<string, number>
  /** Places of examples: file and line, or the prompt's id or index. */
  where?: string[]
}

/** Measures of one contrast. */
export interface ContrastCheck {
  /** Name of the contrast. */
  contrast: string
  /** How its prompts define it. */
  rule: 'terms' | 'counterfactual' | 'labels'
  /** Number of prompts with this contrast. */
  prompts: number
  /** Number of terms, or of label queries with positive and negative keys. */
  terms: number
  /** Number of units: groups, and prompts without a group. */
  units: number
  /** Number of measured units; below `units` if they are sampled. */
  sampledUnits: number
  /** Unit of positions, distances and lengths: characters if text comes without a tokenizer. */
  positionsIn: 'tokens' | 'characters' | 'rows' | 'mixed'
  /** Number of terms that are left out of all measures: token indices in a text without a tokenizer. */
  unplacedTerms: number
  /** LEVEL divided by the number of measures. */
  level: number
  /** All measures that could be taken, whether or not they gave a finding. */
  measures: Measure[]
  /** Warnings and notes about this contrast. */
  findings: Finding[]
}

/** The result of `checkPromptSet`. */
export interface PromptSetCheck {
  /** Path as given, or `memory`. */
  source: string
  /** SHA-256 of the file, or of the prompts as JSON lines. */
  sha256: string
  /** Number of prompts. */
  prompts: number
  /** Number of warnings, without notes. */
  warnings: number
  /** Seed of the null draws and of the sample of units. */
  seed: number
  /** Number of null draws of each measure, which randomly swap the sides of whole units. */
  draws: number
  /** Probability of a false warning in a balanced contrast. */
  level: number
  /** Smallest sizes that give a warning. */
  minimal: typeof MINIMAL
  /** Findings about the whole set: duplicates and ids. */
  findings: Finding[]
  /** The checks of each contrast, in order of first appearance. */
  contrasts: ContrastCheck[]
}
