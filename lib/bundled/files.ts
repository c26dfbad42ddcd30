/** Models and word lists that come with the package. */

import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Path of a bundled file; the toys, `toy-*.onnx`, lie in a folder of their own. */
export function bundledFile(name: string): string {
  const place = name.startsWith('toy-') ? `toys/${name}` : name
  return fileURLToPath(new URL(`../../lib/bundled/${place}`, import.meta.url))
}

/** The word lists that the bundled transformer was trained with. */
export interface Words {
  /** Nouns that lie in boxes. */
  objects: string[]
  /** Names of boxes. */
  boxes: string[]
  /** Items by the name of their category. */
  categories: Record<string, string[]>
}

/** The words that the bundled transformer knows. */
export function bundledWords(): Words {
  return JSON.parse(readFileSync(bundledFile('words.json'), 'utf8'))
}

/** File names of the bundled toy models, in order. */
export function bundledToys(): string[] {
  return readdirSync(bundledFile('toys'))
    .filter((name) => /^toy-.*\.onnx$/.test(name))
    .sort()
}

/** How the bundled induction model was trained, and what its heads were measured to attend to. */
export interface Induction {
  /** Seed of the training. */
  seed: number
  /** Steps of training. */
  steps: number
  /** Of the second copy, from its second token on, on fresh sequences. */
  accuracy: number
  /** Sequences that were measured. */
  sequences: number
  /** Token ids are below this. */
  vocabulary: number
  /** Tokens a sequence, and the most that the model takes. */
  length: number
  /** Shortest and longest segment, and fewest and most tokens between its two copies. */
  segment: [number, number]
  /** Fewest and most tokens between the two copies. */
  gap: [number, number]
  /** By head, as in `L1H0`. */
  attention: Record<string, InductionAttention>
}

/** Means over queries of the total attention on some of their keys. */
export interface InductionAttention {
  /** On the token before; queries from position 1 on. */
  previous: number
  /** On earlier copies of the query's token; queries that have any. */
  same: number
  /** On the tokens that follow earlier copies of the query's token; queries in the second copy. */
  induction: number
  /** On position 0; queries from position 4 on. */
  first: number
}

/** How the bundled `induction.onnx` was trained, and what its heads were measured to attend to. */
export function bundledInduction(): Induction {
  return JSON.parse(readFileSync(bundledFile('induction.json'), 'utf8'))
}

/** Power of the test of `effect` of one head, by the strength of the effect: [strength, power at each level][]. */
export interface PowerCurve {
  headDim: number
  units: number
  /** Data sets of each point. */
  sets: number
  points: number[][]
}

export interface PowerTable {
  made: string
  levels: number[]
  curves: PowerCurve[]
}

/** What `npm run calibrate` simulated. */
export function bundledPower(): PowerTable {
  known ??= JSON.parse(readFileSync(bundledFile('power.json'), 'utf8')) as PowerTable
  return known
}

let known: PowerTable | undefined
