/** Figure 5: the interaction of latents, G = (W_Q B)^T (W_K A), is block-diagonal while all latents fit. */

import { bundledFile, bundledToys } from '../../bundled/files.js'
import { QkError, throwIfAborted } from '../../errors.js'
import { type Model, openModel } from '../../model/model.js'
import { readToyConfig } from '../../toy/export.js'
import { toyEncoders } from '../../toy/task.js'
import { type Cell, type FigureContext, type PaperFigure, percent } from '../figure.js'

/** Bar: part of the squared norm within the blocks z1-z1 and z2-z2, where all latents fit. */
const BAR = 0.95

export async function figure5({ signal }: FigureContext): Promise<PaperFigure> {
  const blocks: Cell[][] = []
  const entries: Cell[][] = []
  for (const file of bundledToys()) {
    throwIfAborted(signal)
    const model = await openModel(bundledFile(file))
    const config = readToyConfig(model)
    const g = latentInteraction(model)
    const { r1, r2, dHead, task } = config
    const n = r1 + r2
    const name = file.replace(/\.onnx$/, '')
    const latent = (i: number) => (i < r1 ? `z1.${i + 1}` : `z2.${i - r1 + 1}`)
    let within = 0
    let total = 0
    g.forEach((value, at) => {
      const [i, j] = [Math.floor(at / n), at % n]
      total += value ** 2
      if (i < r1 === j < r1) within += value ** 2
      entries.push([name, latent(i), latent(j), value])
    })
    blocks.push([name, task, dHead, r1, r2, n <= dHead, within / total, (r1 ** 2 + r2 ** 2) / n ** 2])
  }
  const least = (fits: boolean) =>
    Math.min(...blocks.filter((row) => row[5] === fits).map((row) => row[6] as number))
  return {
    figure: '5',
    title: 'Interaction of query latents with key latents',
    claim:
      'G has a block for each latent and little outside; without room for all latents, blocks interfere.',
    held: least(true) >= BAR && least(false) < least(true),
    why: `at least ${percent(least(true))} of ‖G‖² lies within the two blocks where r1 + r2 fits (bar ${percent(BAR)}), at least ${percent(least(false))} with d_head 8 (bar: less than where they fit); evenly spread it would be about half`,
    tables: [
      {
        name: 'blocks',
        columns: ['model', 'task', 'd_head', 'r1', 'r2', 'fits', 'within blocks', 'evenly spread'],
        rows: blocks,
      },
      { name: 'interaction', columns: ['model', 'query latent', 'key latent', 'value'], rows: entries },
    ],
  }
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
    for (let c = 0; c < dHead; c++) sum += queries[i * dHead + c] * keys[j * dHead + c]
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
    for (let i = 0; i < inner; i++) out[at] += a[row * inner + i] * b[i * cols + (at % cols)]
  }
  return out
}
