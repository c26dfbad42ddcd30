/** Models and word lists that come with the package. */

import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Path of a bundled file; the toys, `toy-*.onnx`, lie in a folder of their own. */
export function bundledFile(name: string): string {
  const place = name.startsWith('toy-') ? `toys/${name}` : name
  return fileURLToPath(new URL(`../../lib/bundled/${place}`, import.meta.url))
}

export interface Words {
  objects: string[]
  boxes: string[]
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
