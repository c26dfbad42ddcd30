/** Order and lexical subspaces of the bundled transformer, which figures 8, 9 and 10 share. */

import { bundledFile, bundledWords } from '../bundled/files.js'
import { boxesLexical, boxesOrder, boxesUnused } from '../contrast/families/boxes.js'
import type { Prompt } from '../contrast/prompt.js'
import { accumulate } from '../covariance/accumulate.js'
import { disposeSums } from '../covariance/sums.js'
import type { Basis } from '../math/basis.js'
import { type Model, openModel } from '../model/model.js'
import { decompose } from '../spectrum/decompose.js'
import { nullBasis } from '../spectrum/nulls/control-bases.js'
import { type ContrastSubspace, Result } from '../store/result.js'
import { derivedSeed, type FigureContext, NULLS, PAPER_RULE } from './figure.js'
import { labelled } from './random-labels.js'

/** Number of objects in a prompt. */
export const PAIRS = 5

/** Subspaces from prompts that all ask for one word. For these, ΔC of the lexical contrast is not zero on average. */
export interface Binding {
  word: string
  /** Contrasts `order`, `lexical` and `unused`: of every head for the first word, of the strongest for the others. */
  plain: Result
  /** The same subspaces from centred covariances, which vary with order or word and exclude the means. */
  centred: Result
}

export interface BoxesExperiment {
  model: Model
  bindings: Binding[]
  /** The head with the largest score gap of the order contrast: the one that attends to the answer. */
  head: string
  /** Prompts that ask for any word, with other lists. */
  heldOut: Prompt[]
}

const made = new WeakMap<FigureContext, Promise<BoxesExperiment>>()

/** Once for figures of the same context. */
export function boxesExperiment(context: FigureContext): Promise<BoxesExperiment> {
  const found = made.get(context) ?? decomposeBoxes(context)
  made.set(context, found)
  return found
}

async function decomposeBoxes(context: FigureContext): Promise<BoxesExperiment> {
  const { sizes, seed, signal } = context
  const { objects, boxes } = bundledWords()
  const model = await openModel(bundledFile('boxes.onnx'), {
    tokenizer: bundledFile('boxes.tokenizer.json'),
  })
  const common = { objects, boxes, pairs: PAIRS }
  const bindings: Binding[] = []
  let head: string | undefined
  for (const word of objects.slice(0, sizes.boxesWords)) {
    const base = { ...common, prompts: sizes.boxes, asked: [word] }
    const order = boxesOrder({ ...base, seed: derivedSeed(seed, 500) })
    const prompts = [
      ...order,
      ...boxesLexical({ ...base, seed: derivedSeed(seed, 501) }),
      ...boxesUnused({ ...base, seed: derivedSeed(seed, 502) }),
    ]
    const own = labelled(prompts, context)
    // The first word determines the head; the other words are measured only in it.
    const sums = await accumulate(model, own, { heads: head ?? 'all', batchSize: 64, signal })
    try {
      const options = { rank: PAPER_RULE, nulls: NULLS, signal }
      const plain = await decompose(sums, options)
      const centred = await decompose(sums, { ...options, center: true })
      bindings.push({ word, plain, centred })
      // Random labels cannot determine the head either, so the original labels do.
      head ??= strongest(context.randomLabels ? await decomposeOnly(model, order, signal) : plain)
    } finally {
      disposeSums(sums)
    }
  }
  const heldOut = boxesOrder({ ...common, prompts: sizes.heldOut, seed: derivedSeed(seed, 503) })
  return { model, bindings, head: head!, heldOut }
}

/** All heads, without controls. */
async function decomposeOnly(model: Model, prompts: Prompt[], signal?: AbortSignal): Promise<Result> {
  const sums = await accumulate(model, prompts, { batchSize: 64, nullBytes: 0, signal })
  return decompose(sums, { rank: PAPER_RULE, signal }).finally(() => disposeSums(sums))
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

/** The same head and contrasts with null subspaces `draw` in place of their own. */
export function nullLike(result: Result, head: string, contrasts: readonly string[], draw: number): Result {
  const replaced = contrasts.map((name): [string, ContrastSubspace] => {
    const own = result.head(head).contrast(name)
    const [u, v] = (['u', 'v'] as const).map((side) => nullBasis(own, side, draw))
    const { nulls: _, directions: __, ...kept } = own
    return [name, { ...kept, rank: u.shape[1], u: u.data, v: v.data }]
  })
  return new Result(result.info, new Map([[head, new Map(replaced)]]))
}
