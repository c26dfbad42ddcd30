/** Synthetic batches, on which a model is tried when it is opened. */

import { seededRandom } from '../../math/random.js'
import type { Graph } from '../onnx/graph.js'
import {
  fixedBatch,
  fixedLength,
  type ModelInput,
  makeArray,
  numberWriter,
  tableRows,
  tokenFeeds,
} from './inputs.js'
import type { WireTensor } from './session.js'

/** Sizes to try for free axes. They differ, so that axes can be told apart by size. */
export interface ProbeSizes {
  batch: number
  /** Of sequences of tokens, and of every other free axis unless there are extents. */
  length: number
  /** Of the free axes of tensors, by how many axes these have. */
  extents?: Extents
}

interface Extents {
  /** [batch, samples] */
  sound: number
  /** [batch, positions, features] and [batch, channels, positions] */
  frames: number
  /** [batch, channels, height, width] and more */
  image: number
}

const SHORT: readonly ProbeSizes[] = [
  { batch: 3, length: 7 },
  { batch: 2, length: 8 },
  { batch: 1, length: 8 },
  { batch: 1, length: 1 },
]
/** Sides of images that models are trained on; small ones first, since most models take any. */
const IMAGE_SIDES = [32, 64, 96, 128, 224, 256, 336, 384, 448, 512, 518]
/** What a recogniser of speech takes: any number of samples that yields some frames, or 30 seconds of frames. */
const SOUND = [4_000, 16_000]
const FRAMES = [64, 512, 3_000, 16_000]

/** The sizes to try, in order: short ones, and where tensors have free axes that are no tokens, those of images and sound. */
export function probeSizes(inputs: readonly ModelInput[]): ProbeSizes[] {
  const open = inputs.filter(
    ({ role, shape }) => role === 'custom' && shape.some((d, axis) => axis > 0 && typeof d === 'string'),
  )
  if (open.length === 0) return [...SHORT]
  const image = open.some(({ shape }) => shape.length > 3)
  const long = image ? IMAGE_SIDES.length : FRAMES.length
  const nth = (list: readonly number[], i: number) => list[Math.min(i, list.length - 1)]
  return [
    ...SHORT,
    ...Array.from({ length: long }, (_, i) => ({
      batch: 2,
      length: 7,
      extents: { sound: nth(SOUND, i), frames: nth(FRAMES, i), image: nth(IMAGE_SIDES, i) },
    })),
  ]
}

/**
 * A synthetic batch: seeded random tokens with a padded last sequence, or standard normal values where
 * the model takes tensors.
 */
export function probeFeeds(
  graph: Graph,
  inputs: readonly ModelInput[],
  sizes: ProbeSizes,
): Record<string, WireTensor> {
  const random = seededRandom(20_602)
  const ids = inputs.find((i) => i.role === 'ids')
  const batch = ids ? (fixedBatch([ids]) ?? sizes.batch) : sizes.batch
  const length = ids ? (fixedLength([ids]) ?? sizes.length) : sizes.length
  const vocabulary = ids ? (tableRows(graph, ids.name) ?? SMALL_VOCABULARY) : 0
  const padded = batch > 1 && length > 2 && inputs.some((i) => i.role === 'mask')
  const isLast = (b: number) => padded && b === batch - 1 && fixedLength([ids!]) === undefined
  const sequences = Array.from({ length: batch }, (_, b) =>
    Array.from({ length: isLast(b) ? length - 2 : length }, () => random.below(vocabulary)),
  )
  const feeds = tokenFeeds(
    inputs.filter((i) => i.role !== 'custom'),
    sequences,
    0,
  )
  const named = new Map<string, number>()
  for (const axis of inputs.filter((i) => i.role !== 'custom' && i.role !== 'cache')) {
    const positions = axis.sequenceFirst ? axis.shape.slice(0, 1) : axis.shape.slice(1)
    for (const d of positions) if (typeof d === 'string' && d) named.set(d, length)
  }
  for (const input of inputs.filter((i) => i.role === 'custom')) {
    const dims = input.shape.map((d, axis) => {
      if (typeof d === 'number') return d
      const free = () => storedSize(graph, input, axis) ?? extentOf(input, sizes)
      const size = axis === 0 || /batch/i.test(d) ? batch : free()
      if (!d) return size
      if (!named.has(d)) named.set(d, size)
      return named.get(d)!
    })
    const data = makeArray(
      input,
      dims.reduce((a, b) => a * b, 1),
    )
    const write = numberWriter(data, input.type)
    const limit = Math.min(tableRows(graph, input.name) ?? SMALL_VOCABULARY, 2)
    // A mask of zeros would leave nothing to compare.
    const isMask = /mask/i.test(input.name)
    for (let i = 0; i < data.length; i++) {
      write(i, input.type.startsWith('float') ? random.normal() : isMask ? 1 : random.below(limit))
    }
    feeds[input.name] = { type: input.type, dims, data }
  }
  return feeds
}

/** Where nothing tells how many ids there are. */
const SMALL_VOCABULARY = 16

function extentOf({ shape, type }: ModelInput, { length, extents }: ProbeSizes): number {
  if (!extents || !type.startsWith('float')) return length
  return shape.length > 3 ? extents.image : shape.length === 3 ? extents.frames : extents.sound
}

/** The size of a free axis that the first weight it meets tells: channels of a convolution, features of a projection. */
function storedSize(graph: Graph, { name, shape }: ModelInput, axis: number): number | undefined {
  const seen = new Set<string>()
  for (let tensor: string | undefined = name; tensor !== undefined && !seen.has(tensor); ) {
    seen.add(tensor)
    let next: string | undefined
    for (const user of graph.consumers.get(tensor) ?? []) {
      const weight = graph.initializers.get(user.input[1] ?? '')
      if (user.opType === 'Conv' && axis === 1 && weight && user.input[0] === tensor) {
        return Number(weight.dims[1]) * graph.int(user, 'group', 1)
      }
      if (user.opType === 'MatMul' && axis === shape.length - 1 && weight?.dims.length === 2) {
        return Number(weight.dims[0])
      }
      if (user.opType === 'Cast' || user.opType === 'Identity') next = user.output[0]
    }
    tensor = next
  }
  return undefined
}
