/** Figure 5: the interaction of latents, G = (W_Q B)^T (W_K A), is block-diagonal while all latents fit. */

import { bundledFile, bundledToys } from '../../bundled/files.js'
import { QkError, throwIfAborted } from '../../errors.js'
import { nullFigures } from '../../math/null-limit.js'
import { seededRandom } from '../../math/random.js'
import { type Model, openModel } from '../../model/model.js'
import { readToyConfig } from '../../toy/export.js'
import { toyEncoders } from '../../toy/task.js'
import { type Cell, derivedSeed, type FigureContext, type PaperFigure } from '../figure.js'
import { percent } from '../percent.js'
import { atLeast, claimOf } from '../verdict.js'

/** Bar: part of the squared norm within the blocks z1-z1 and z2-z2, where all latents fit. */
const BAR = 0.95
/** Number of permutations of the key latents: the null of a G without blocks. */
const PERMUTATIONS = 999
/** Equal but for the order of the sum. */
const TIE = 1e-12

export async function figure5({ seed, signal }: FigureContext): Promise<PaperFigure> {
  const blocks: Cell[][] = []
  const entries: Cell[][] = []
  const found: { fits: boolean; within: number; permuted: number[] }[] = []
  const random = seededRandom(derivedSeed(seed, 350))
  for (const file of bundledToys()) {
    throwIfAborted(signal)
    const model = await openModel(bundledFile(file))
    const config = readToyConfig(model)
    const g = latentInteraction(model)
    const { r1, r2, dHead, task } = config
    const n = r1 + r2
    const name = file.replace(/\.onnx$/, '')
    const latent = (i: number) => (i < r1 ? `z1.${i + 1}` : `z2.${i - r1 + 1}`)
    g.forEach((value, at) => {
      entries.push([name, latent(Math.floor(at / n)), latent(at % n), value])
    })
    const columns = [...Array(n).keys()]
    const within = withinBlocks(g, r1, columns)
    const permuted = Array.from({ length: PERMUTATIONS }, () =>
      withinBlocks(g, r1, random.sample(columns, n)),
    )
    const fits = n <= dHead
    found.push({ fits, within, permuted })
    const { mean, p95 } = nullFigures(permuted)!
    const p = (1 + permuted.filter((x) => x >= within - TIE).length) / (1 + PERMUTATIONS)
    const even = (r1 ** 2 + r2 ** 2) / n ** 2
    blocks.push([name, task, dHead, r1, r2, fits, within, even, mean, p95, PERMUTATIONS, p])
  }
  const fitting = found.filter(({ fits }) => fits)
  const least = Math.min(...fitting.map(({ within }) => within))
  const crowded = Math.min(...found.filter(({ fits }) => !fits).map(({ within }) => within))
  const permuted = Array.from({ length: PERMUTATIONS }, (_, draw) =>
    Math.min(...fitting.map((one) => one.permuted[draw])),
  )
  return {
    figure: '5',
    title: 'Interaction of query latents with key latents',
    ...claimOf(
      'G has a block for each latent and little outside; without room for all latents, blocks interfere.',
      [
        atLeast(
          'part of ‖G‖² within the two blocks, least of the models where r1 + r2 fits:',
          least,
          BAR,
          { nulls: nullFigures(permuted) },
          'the same of G with key latents permuted',
        ),
      ],
      [
        {
          text: `least with d_head 8 ${percent(crowded)}`,
          bar: 'less than where they fit',
          met: crowded < least,
        },
      ],
      [
        'no labels are used here: G is computed from the weights and the encoders',
        'of 3 + 3 latents one order in twenty keeps both blocks, so the p of those models is at least 0.05; all models together decide',
      ],
    ),
    tables: [
      {
        name: 'blocks',
        columns: [
          'model',
          'task',
          'd_head',
          'r1',
          'r2',
          'fits',
          'within blocks',
          'evenly spread',
          'permuted mean',
          'permuted p95',
          'permutations',
          'p',
        ],
        rows: blocks,
      },
      { name: 'interaction', columns: ['model', 'query latent', 'key latent', 'value'], rows: entries },
    ],
  }
}

/** Part of the squared norm of G within the two blocks, with its columns in another order. */
function withinBlocks(g: Float64Array, r1: number, columns: readonly number[]): number {
  const n = columns.length
  let within = 0
  let total = 0
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const square = g[i * n + columns[j]] ** 2
      total += square
      if (i < r1 === j < r1) {
        within += square
      }
    }
  }
  return within / total
}

/** G, [r1 + r2, r1 + r2]: rows of query latents, columns of key latents; before the scale 1/sqrt(d_head). */
export function latentInteraction(model: Model): Float64Array {
  const config = readToyConfig(model)
  const { a1, a2, b1, b2 } = toyEncoders(config)
  const { dModel, dHead } = config
  const queries = product(Float64Array.of(...b1, ...b2), weights(model, 'W_Q'), dModel, dHead)
  const keys = product(Float64Array.of(...a1, ...a2), weights(model, 'W_K'), dModel, dHead)
  const n = config.r1 + config.r2
  return Float64Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n]
    let sum = 0
    for (let c = 0; c < dHead; c++) {
      sum += queries[i * dHead + c] * keys[j * dHead + c]
    }
    return sum
  })
}

/** A float32 initializer of the model's file. */
function weights(model: Model, name: string): Float32Array {
  const found = model.graph.initializers.get(name)
  if (!found || found.rawData.length === 0) {
    throw new QkError('ERR_UNSUPPORTED_MODEL', `${model.path} has no weights ${name}`, {
      hint: 'Toy models are made by `qkspace toy train`.',
    })
  }
  return new Float32Array(new Uint8Array(found.rawData).buffer)
}

/** [rows, inner] times [inner, cols]. */
function product(a: Float64Array, b: Float32Array, inner: number, cols: number): Float64Array {
  const out = new Float64Array((a.length / inner) * cols)
  for (let at = 0; at < out.length; at++) {
    const row = Math.floor(at / cols)
    for (let i = 0; i < inner; i++) {
      out[at] += a[row * inner + i] * b[i * cols + (at % cols)]
    }
  }
  return out
}
