/**
 * Label sequences as units of exchange (docs/method.md, Rank 3). A unit is a sequence, or all sequences of a group
 * that shares material. It may take the labels of another unit of its shape, sequence by sequence. Sequences without
 * such a partner are cut into blocks of a common length, and blocks exchange labels with blocks at the same place. The
 * place matters: if both labels and activations change along the sequence, a later block differs from an earlier one
 * in both.
 */

import type { LabelSequence } from '../../../backend/backend.js'
import { groupBy } from '../../../math/group-by.js'
import { compareKeys, STREAMS, type UnitKey, unitKey, unitWord } from '../../../math/unit-hash.js'

/** The unit of exchange. Its rows belong to the tensors of its sequences. */
export interface LabelUnit {
  key: UnitKey
  /** Key of the whole sequence: all its blocks lie in the same half of the units. */
  whole: UnitKey
  sequences: LabelSequence[]
  /** Units of the same shape may exchange their labels. */
  shape: string
}

/** A sequence is not cut if at least this many sequences, itself included, have its shape. */
const PARTNERS = 10
/** A block length is good enough if it keeps this fraction of the rows that the best one keeps. */
const NEARLY_ALL = 0.9

const shapeOf = ({ queryRows, keyRows, keyScope }: LabelSequence) =>
  `${keyScope} ${queryRows.length} ${keyRows.length}`

/** Units in ascending order of their keys; `ids` are those of the sequences. Sequences without rows are dropped. */
export function labelUnits(sequences: readonly LabelSequence[], ids: readonly string[]): LabelUnit[] {
  const used = [...sequences.keys()].filter((i) => {
    return sequences[i].queryRows.length > 0 && sequences[i].keyRows.length > 0
  })
  const dense = denseLabels()
  const members = [...groupBy(used, (i) => ids[i])].map(([id, list]) => ({
    id,
    sequences: list.map((i) => dense(sequences[i])),
  }))
  const shape = (list: readonly LabelSequence[]) => list.map(shapeOf).join(', ')
  const shapes = groupBy(members, (member) => shape(member.sequences))
  const lonely = (list: readonly LabelSequence[]) => shapes.get(shape(list))!.length < PARTNERS
  const alone = members.filter((member) => lonely(member.sequences) && cuttable(member.sequences))
  const length = alone.length > 0 ? blockLength(members.map((member) => member.sequences)) : 0
  const units = members.flatMap(({ id, sequences: list }): LabelUnit[] => {
    const whole = unitKey(id)
    const uncut = { key: whole, whole, sequences: list, shape: shape(list) }
    if (!lonely(list) || !cuttable(list) || length === 0) {
      return [uncut]
    }
    const blocks = Math.floor(list[0].queryRows.length / length)
    return Array.from({ length: blocks }, (_, place) => {
      const part = [block(list[0], place * length, (place + 1) * length)]
      return {
        key: unitKey(`${id}\n${place}`),
        whole,
        sequences: part,
        shape: `${shape(part)}, block ${place}`,
      }
    })
  })
  return units.sort((a, b) => compareKeys(a.key, b.key))
}

/** Renumbers labels as 0, 1, 2, ..., so that sums by label are arrays. Labels below 0 stay none. */
function denseLabels(): (sequence: LabelSequence) => LabelSequence {
  const known = new Map<number, number>()
  const dense = (labels: Int32Array) => {
    return labels.map((label) => {
      if (label < 0) {
        return -1
      }
      const index = known.get(label) ?? known.size
      known.set(label, index)
      return index
    })
  }
  return (sequence) => ({
    ...sequence,
    queryLabels: dense(sequence.queryLabels),
    keyLabels: dense(sequence.keyLabels),
  })
}

/**
 * Whether a unit can be cut: a single sequence whose queries and keys are the same positions, so that a window of
 * queries is also one of keys.
 */
function cuttable(list: readonly LabelSequence[]): boolean {
  const [{ keyScope, queryPositions, keyPositions }] = list
  if (list.length > 1 || keyScope === 'all' || queryPositions.length !== keyPositions.length) {
    return false
  }
  return queryPositions.every((position, i) => position === keyPositions[i])
}

/** The longest existing length that keeps nearly as many rows as any other; 0 if nothing can be cut. */
function blockLength(members: readonly (readonly LabelSequence[])[]): number {
  const lengths = members.filter(cuttable).map(([{ queryRows }]) => queryRows.length)
  const candidates = [...new Set(lengths)].filter((length) => length > 1).sort((a, b) => b - a)
  const kept = candidates.map((length) => {
    const blocks = lengths.reduce((sum, n) => sum + Math.floor(n / length), 0)
    return blocks >= PARTNERS ? blocks * length : 0
  })
  const most = Math.max(0, ...kept)
  return most === 0 ? 0 : candidates[kept.findIndex((rows) => rows >= NEARLY_ALL * most)]
}

function block(sequence: LabelSequence, from: number, to: number): LabelSequence {
  return {
    contrast: sequence.contrast,
    keyScope: sequence.keyScope,
    queryRows: sequence.queryRows.slice(from, to),
    queryPositions: sequence.queryPositions.slice(from, to),
    queryLabels: sequence.queryLabels.slice(from, to),
    keyRows: sequence.keyRows.slice(from, to),
    keyPositions: sequence.keyPositions.slice(from, to),
    keyLabels: sequence.keyLabels.slice(from, to),
  }
}

/** The sequences of a unit with the labels of another of its shape. */
export function withLabelsOf(unit: LabelUnit, donor: LabelUnit): LabelSequence[] {
  return unit.sequences.map((sequence, i) => {
    const { queryLabels, keyLabels } = donor.sequences[i]
    return { ...sequence, queryLabels, keyLabels }
  })
}

/** Indices of units by shape. The units of a group may exchange their labels. */
export function exchangeGroups(units: readonly LabelUnit[]): number[][] {
  return [...groupBy(units.keys(), (i) => units[i].shape).values()]
}

/** Units that have a partner. The others contribute exactly their mean, which is subtracted. */
export function exchangeable(units: readonly LabelUnit[]): LabelUnit[] {
  const alone = new Set(exchangeGroups(units).flatMap((group) => (group.length === 1 ? group : [])))
  return units.filter((_, i) => !alone.has(i))
}

/** One over the number of arrangements of labels. */
export function leastPOf(units: readonly LabelUnit[]): number {
  let p = 1
  for (const group of exchangeGroups(units)) {
    for (let n = 2; n <= group.length; n++) {
      p /= n
    }
  }
  return p
}

/** Index of the unit whose labels each unit has in a draw. In draw 0 it is the unit itself. */
export function donorsOf(
  units: readonly LabelUnit[],
  groups: readonly number[][],
  seed: number,
  draw: number,
  stream: number = STREAMS.labels,
): Int32Array {
  const donors = Int32Array.from(units.keys())
  if (draw === 0) {
    return donors
  }
  for (const group of groups) {
    const place = new Map(group.map((i) => [i, unitWord(seed, units[i].key, stream, draw)]))
    const shuffled = [...group].sort((a, b) => place.get(a)! - place.get(b)! || a - b)
    group.forEach((unit, at) => {
      donors[unit] = shuffled[at]
    })
  }
  return donors
}

/**
 * Donors over which the mean of a unit's contributions is taken: all of its group, or evenly spaced ones of a large
 * group.
 */
export function meanDonors(group: readonly number[], unit: number): number[] {
  if (group.length <= MOST_DONORS) {
    return [...group]
  }
  const at = group.indexOf(unit)
  return Array.from({ length: MOST_DONORS }, (_, i) => {
    return group[(at + Math.floor((i * group.length) / MOST_DONORS)) % group.length]
  })
}

const MOST_DONORS = 256
