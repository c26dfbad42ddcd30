/** Order and lexical subspaces of the bundled transformer, which figures 8, 9 and 10 share. */

import { bundledFile, bundledWords } from '../bundled/files.js'
import { boxesLexical, boxesOrder, boxesUnused } from '../contrast/families/boxes.js'
import type { Prompt } from '../contrast/prompt.js'
import { accumulate, disposeSums } from '../covariance/accumulate.js'
import { type Basis, randomBasis } from '../math/basis.js'
import { seededRandom } from '../math/random.js'
import { type Model, openModel } from '../model/model.js'
import { decompose } from '../spectrum/decompose.js'
import { type ContrastSubspace, Result } from '../store/result.js'
import { derivedSeed, type FigureContext, PAPER_RULE } from './figure.js'

/** Objects in a prompt. */
export const PAIRS = 5

/** Subspaces from prompts that all ask for one word, for which ΔC of the lexical contrast is not zero on average. */
export interface Binding {
  word: string
  /** Contrasts `order`, `lexical` and `unused`: of every head for the first word, of the strongest for the others. */
  plain: Result
  /** The same of centred covariances: what varies with order or word, without the means. */
  centred: Result
}

export interface BoxesExperiment {
  model: Model
  bindings: Binding[]
  /** The head with the largest score gap of the order contrast: the one that attends to the answer. */
  head: string
  /** Prompts that ask for any word, of other lists. */
  heldOut: Prompt[]
  /** More of the same kind, to take means from. */
  others: Prompt[]
}

const made = new WeakMap<FigureContext, Promise<BoxesExperiment>>()

/** Once for figures of the same context. */
export function boxesExperiment(context: FigureContext): Promise<BoxesExperiment> {
  const found = made.get(context) ?? decomposeBoxes(context)
  made.set(context, found)
  return found
}

async function decomposeBoxes({ sizes, seed, signal }: FigureContext): Promise<BoxesExperiment> {
  const { objects, boxes } = bundledWords()
  const model = await openModel(bundledFile('boxes.onnx'), {
    tokenizer: bundledFile('boxes.tokenizer.json'),
  })
  const common = { objects, boxes, pairs: PAIRS }
  const bindings: Binding[] = []
  for (const word of objects.slice(0, sizes.boxesWords)) {
    const base = { ...common, prompts: sizes.boxes, asked: [word] }
    const prompts = [
      ...boxesOrder({ ...base, seed: derivedSeed(seed, 500) }),
      ...boxesLexical({ ...base, seed: derivedSeed(seed, 501) }),
      ...boxesUnused({ ...base, seed: derivedSeed(seed, 502) }),
    ]
    // The first word says which head it is; the others look at that one.
    const heads = bindings.length === 0 ? 'all' : strongest(bindings[0].plain)
    const sums = await accumulate(model, prompts, { heads, batchSize: 64, nullBytes: 0, signal })
    try {
      const plain = await decompose(sums, { rank: PAPER_RULE, signal })
      const centred = await decompose(sums, { rank: PAPER_RULE, center: true, signal })
      bindings.push({ word, plain, centred })
    } finally {
      disposeSums(sums)
    }
  }
  const more = (prompts: number, which: number) =>
    boxesOrder({ ...common, prompts, seed: derivedSeed(seed, which) })
  return {
    model,
    bindings,
    head: strongest(bindings[0].plain),
    heldOut: more(sizes.heldOut, 503),
    others: more(sizes.heldOut, 504),
  }
}

function strongest(result: Result): string {
  const gap = (head: string) => result.head(head).contrast('order').scoreGap
  return [...result.headNames].sort((a, b) => gap(b) - gap(a))[0]
}

/** The key-side basis of a contrast, or the query-side one. */
export function basisOf(result: Result, head: string, contrast: string, side: 'u' | 'v' = 'v'): Basis {
  const found = result.head(head).contrast(contrast)
  return { data: found[side], shape: [found.headDim, found.rank] }
}

/** One direction in place of the first contrast's subspaces, and nothing in place of the others': a control. */
export function directionLike(
  result: Result,
  head: string,
  contrasts: readonly string[],
  direction: Float64Array,
): Result {
  const replaced = contrasts.map((name, i): [string, ContrastSubspace] => {
    const basis = i === 0 ? direction : new Float64Array(0)
    const { nulls: _, ...own } = result.head(head).contrast(name)
    return [name, { ...own, u: basis, v: basis, rank: i === 0 ? 1 : 0 }]
  })
  return new Result(result.info, new Map([[head, new Map(replaced)]]))
}

/** The same head and contrasts with random (Haar) subspaces of the same ranks in their place: a control. */
export function randomLike(result: Result, head: string, contrasts: readonly string[], seed: number): Result {
  const random = seededRandom(seed)
  const replaced = contrasts.map((name): [string, ContrastSubspace] => {
    const { nulls: _, ...own } = result.head(head).contrast(name)
    const draw = () => randomBasis(own.headDim, own.rank, random).data
    return [name, { ...own, u: draw(), v: draw() }]
  })
  return new Result(result.info, new Map([[head, new Map(replaced)]]))
}
