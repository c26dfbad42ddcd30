/** What the check of a prompt set reports. */

/** How likely one false warning may be in a contrast whose measures are all balanced; shared over its measures. */
export const LEVEL = 0.01

/** Draws of a null distribution. */
export const DRAWS = 1999

/** Units of a contrast that are measured; larger sets are sampled. */
export const MOST_UNITS = 4000

/** Smallest imbalances that are worth a warning, however certain they are. */
export const MINIMAL = {
  /** Of an AUC from 0.5. */
  auc: 0.05,
  /** Of a total variation distance from its mean under the null. */
  totalVariation: 0.05,
  /** Of the rate at which neighbouring labels agree from its expectation. */
  rate: 0.05,
  /** Of the class frequencies' total variation distance from equal classes, less what chance gives. */
  classFrequency: 0.2,
  /** Share of units that are too many because prompts share material, less what chance gives. */
  sharedMaterial: 0.05,
  /** Share of label sequences that have their length to themselves. */
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

/** One imbalance beside what swapping the sides of whole units at random gives. */
export interface Measure {
  /** What was compared. */
  name: MeasureName
  /**
   * `auc`: how often a positive key's value is larger than a negative key's, ties counted half; balanced is 0.5.
   * `totalVariation`: total variation distance of two distributions, 0 to 1; balanced is 0.
   * `rate`: observed minus expected share of neighbours with the same label; balanced is 0.
   */
  scale: 'auc' | 'totalVariation' | 'rate'
  /** How large the imbalance is, in the units of `scale`. */
  size: number
  /** Over units; of `auc` and `rate`. */
  standardError?: number
  /** Mean of `size` under the null; of `auc`, mean of 0.5 + |size - 0.5|. */
  chance: number
  /** 99th percentile of the same. */
  chance99: number
  /** Share of draws, the observed set included, whose squared imbalance is at least the observed one. */
  p: number
  /** Units that the measure was taken on. */
  units: number
}

/**
 * What a finding is about: an imbalance of the contrast, or prompts that are not independent or too
 * few.
 */
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

/** One thing that a prompt set contrasts besides its feature, or that weakens the test of rank. */
export interface Finding {
  /** What the finding is about. */
  kind: FindingKind
  /** A note states what a contrast of this form usually has, or what matters for some options only. */
  level: 'warning' | 'note'
  /** One or two sentences with the size, and what chance gives. */
  message: string
  /** The numbers of the message, by name. */
  size: Record<string, number>
  /** Places of examples: file and line, or the prompt's id or index. */
  where?: string[]
}

/** What was measured of one contrast. */
export interface ContrastCheck {
  /** Name of the contrast. */
  contrast: string
  /** How its prompts define it. */
  rule: 'terms' | 'counterfactual' | 'labels'
  /** Prompts that take part. */
  prompts: number
  /** Terms, or label queries that have positive and negative keys. */
  terms: number
  /** Groups, and prompts without one. */
  units: number
  /** Units that were measured; fewer than `units` where those are sampled. */
  sampledUnits: number
  /** What positions, distances and lengths count: characters where text comes without a tokenizer. */
  positionsIn: 'tokens' | 'characters' | 'rows' | 'mixed'
  /** Terms left out of all measures: token indices in a text that no tokenizer has split. */
  unplacedTerms: number
  /** LEVEL divided by the number of measures. */
  level: number
  /** All measures that could be taken, whether or not they gave a finding. */
  measures: Measure[]
  /** Warnings and notes about this contrast. */
  findings: Finding[]
}

/** What `checkPromptSet` found out about a prompt set. */
export interface PromptSetCheck {
  /** Path as given, or `memory`. */
  source: string
  /** Of the file, or of the prompts as JSON lines. */
  sha256: string
  /** Number of prompts. */
  prompts: number
  /** Number of warnings, notes not counted. */
  warnings: number
  /** Of the null draws and of the sample of units. */
  seed: number
  /** Null draws of each measure: the sides of whole units are swapped at random. */
  draws: number
  /** Chance of a false warning in a balanced contrast. */
  level: number
  /** Smallest sizes that are warned about. */
  minimal: typeof MINIMAL
  /** About the whole set: duplicates and ids. */
  findings: Finding[]
  /** The checks of each contrast, in order of first appearance. */
  contrasts: ContrastCheck[]
}
