/** Synthetic batches for trying a model when it is opened. */

import { QkError } from '../../errors.js'
import { type Random, seededRandom } from '../../math/random.js'
import { MAX_INPUT_BYTES } from '../onnx/check-model.js'
import type { Graph } from '../onnx/graph.js'
import {
  fixedBatch,
  fixedLength,
  layoutOf,
  type ModelInput,
  makeArray,
  numberWriter,
  tableRows,
  tokenFeeds,
} from './inputs.js'
import type { WireTensor } from './session.js'
import { axisKey, type ChosenSizes, solvedSizes } from './sizes/solve.js'

/** Sizes to try for free axes. All differ, so that a size identifies its axis. */
export interface ProbeSizes {
  batch: number
  /** Length of token sequences, and size of every other free axis unless there are extents. */
  length: number
  /** Sizes of the free axes of tensors, by the tensor's number of axes. */
  extents?: Extents
  /** Sizes from the caller, by the names of free axes. */
  given?: GivenSizes
}

export type GivenSizes = ReadonlyMap<string, number>

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
/** Sides of images that models are trained on. Small ones come first, since most models accept any side. */
const IMAGE_SIDES = [32, 64, 96, 128, 224, 256, 336, 384, 448, 512, 518]
/** Numbers of samples for speech recognisers: enough for some frames, or for 30 seconds of frames. */
const SOUND = [4_000, 16_000]
const FRAMES = [64, 512, 3_000, 16_000]

/**
 * The sizes to try, in order: short ones first. If tensors have free axes other than tokens, the sizes include those
 * of images and sound.
 */
export function probeSizes(inputs: readonly ModelInput[], given: GivenSizes = new Map()): ProbeSizes[] {
  const tries = openSizes(inputs)
  if (given.size === 0) {
    return tries
  }
  const ids = inputs.find(({ role }) => role === 'ids')
  const own = ids && tokenKeys(ids)
  const batch = own && given.get(own.sequences)
  const length = own && given.get(own.positions)
  return tries.map((sizes) => ({ ...sizes, given, ...(batch && { batch }), ...(length && { length }) }))
}

function openSizes(inputs: readonly ModelInput[]): ProbeSizes[] {
  const open = inputs.filter(
    ({ role, shape }) => role === 'custom' && shape.some((d, axis) => axis > 0 && typeof d === 'string'),
  )
  if (open.length === 0) {
    return [...SHORT]
  }
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

/** The names of the axes of token ids, '' for a fixed or missing axis. */
export function tokenKeys(ids: ModelInput): { sequences: string; positions: string } {
  const key = (axis: number) => {
    const size = ids.shape[axis]
    return typeof size === 'string' ? axisKey(ids.name, axis, size) : ''
  }
  if (ids.shape.length === 1) {
    return { sequences: '', positions: key(0) }
  }
  const { sequence, position } = layoutOf(ids)
  return { sequences: key(sequence), positions: key(position) }
}

/**
 * A synthetic batch: seeded random tokens with a padded last sequence, or standard normal values where
 * the model takes tensors. Errors: ERR_UNSUPPORTED_MODEL where it would be too large.
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
  const custom = inputs.filter((i) => i.role === 'custom')
  const tokens = inputs.filter((i) => i.role !== 'custom')
  const solved = solvedSizes(graph)
  const chosen = solved.choice()
  for (const [key, size] of [...(sizes.given ?? []), ...tokenSizes(tokens, batch, length)]) {
    chosen.set(key, size)
  }
  const shapes = custom.map((input) => customShape(input, chosen, batch, sizes))
  const rows = ids ? batch * length * tokens.length : 0
  checkBytes(rows + shapes.reduce((sum, dims) => sum + elementsOf(dims), 0))

  const padded = batch > 1 && length > 2 && inputs.some((i) => i.role === 'mask')
  const isLast = (b: number) => padded && b === batch - 1 && fixedLength([ids!]) === undefined
  const sequences = Array.from({ length: batch }, (_, b) =>
    Array.from({ length: isLast(b) ? length - 2 : length }, () => random.below(vocabulary)),
  )
  const feeds = tokenFeeds(tokens, sequences, 0)
  custom.forEach((input, i) => {
    const dims = shapes[i]
    const data = makeArray(input, elementsOf(dims))
    const write = numberWriter(data, input.type)
    const value = solved.valueOf(input.name, chosen)
    fill(data, write, value === undefined ? customValue(graph, input, random) : () => value)
    feeds[input.name] = { type: input.type, dims, data }
  })
  return feeds
}

/** Lengths to try for the free axes of tokens, by their names. */
function* tokenSizes(
  tokens: readonly ModelInput[],
  batch: number,
  length: number,
): Generator<[name: string, size: number]> {
  const ids = tokens.find(({ role }) => role === 'ids')
  const sequences = ids ? tokenKeys(ids).sequences : ''
  if (sequences) {
    yield [sequences, batch]
  }
  for (const { shape, sequenceFirst } of tokens.filter(({ role }) => role !== 'cache')) {
    const positions = sequenceFirst ? shape.slice(0, 1) : shape.slice(1)
    for (const size of positions) {
      if (typeof size === 'string' && size) {
        yield [size, length]
      }
    }
  }
}

const elementsOf = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)

/** Counts 4 bytes per element, which nearly all types have. */
function checkBytes(elements: number): void {
  if (elements * 4 <= MAX_INPUT_BYTES) {
    return
  }
  throw new QkError(
    'ERR_UNSUPPORTED_MODEL',
    `a synthetic batch would have ${elements} elements, too many to try the model on`,
    {
      hint: 'Say how long free axes are: openModel(file, { sizes: { name: n } }), or --size name=n on the command line.',
    },
  )
}

function customShape(input: ModelInput, chosen: ChosenSizes, batch: number, sizes: ProbeSizes): number[] {
  return input.shape.map((d, axis) => {
    if (typeof d === 'number') {
      return d
    }
    const own = () => (axis === 0 || /batch/i.test(d) ? batch : extentOf(input, d, sizes))
    return chosen.take(axisKey(input.name, axis, d), own)
  })
}

function customValue(graph: Graph, { name, type }: ModelInput, random: Random): () => number {
  if (type.startsWith('float')) {
    return () => random.normal()
  }
  const limit = Math.min(tableRows(graph, name) ?? SMALL_VOCABULARY, 2)
  // A mask of zeros would leave no scores to compare.
  return /mask/i.test(name) ? () => 1 : () => random.below(limit)
}

/** Number of random values drawn for a large tensor. It is prime, so that no two rows or heads are equal. */
const DRAWN = 65_537

/** Fills an array. Drawing very many values would block the event loop, so they are repeated. */
function fill(
  data: ReturnType<typeof makeArray>,
  write: (index: number, value: number) => void,
  draw: () => number,
): void {
  const drawn = Math.min(data.length, DRAWN)
  for (let i = 0; i < drawn; i++) {
    write(i, draw())
  }
  // Each copy doubles the filled part, which stays a multiple of the drawn values.
  for (let done = drawn; done < data.length; done *= 2) {
    data.copyWithin(done, 0, done)
  }
}

/** Number of ids, if nothing tells how many there are. */
const SMALL_VOCABULARY = 16

function extentOf({ shape, type }: ModelInput, name: string, { length, extents }: ProbeSizes): number {
  // One beam, since nothing is searched.
  if (/beam/i.test(name)) {
    return 1
  }
  if (!extents || !type.startsWith('float')) {
    return length
  }
  return shape.length > 3 ? extents.image : shape.length === 3 ? extents.frames : extents.sound
}
