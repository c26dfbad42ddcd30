/**
 * Label sequences as units of exchange: a sequence may take the labels of another with as many labelled queries and
 * keys. Sequences that have no such partner are cut into blocks of a length that many have, and blocks exchange labels with
 * those from the same place in their sequences (design: "Rank", item 3).
 */

import type { LabelSequence } from '../../../backend/backend.js'
import { groupBy } from '../../../math/group-by.js'
import { compareKeys, STREAMS, type UnitKey, unitKey, unitWord } from '../../../math/unit-hash.js'

/** One unit: a label sequence or a block of one. Rows are those of the tensors that it came with. */
export interface LabelUnit extends LabelSequence {
  key: UnitKey
  /** Of the whole sequence: blocks of it lie in the same half of the units. */
  whole: UnitKey
  /** Which block of its sequence it is, 0 for a whole one. */
  place: number
}

/** A sequence with this many of its shape, itself included, is not cut. */
const PARTNERS = 10
/** A block length that keeps this part of the rows is as good as the best. */
const NEARLY_ALL = 0.9

const shapeOf = ({ queryRows, keyRows, keyScope }: LabelSequence) =>
  `${keyScope} ${queryRows.length} ${keyRows.length}`

/** Units in ascending order of their keys; `ids` are those of the sequences. */
export function labelUnits(sequences: readonly LabelSequence[], ids: readonly string[]): LabelUnit[] {
  const shapes = groupBy(sequences.keys(), (i) => shapeOf(sequences[i]))
  const lonely = (i: number) => shapes.get(shapeOf(sequences[i]))!.length < PARTNERS
  const length = sequences.some((_, i) => lonely(i)) ? blockLength(sequences) : 0
  const units = sequences.flatMap((sequence, i): LabelUnit[] => {
    const whole = unitKey(ids[i])
    if (!lonely(i) || !cuttable(sequence) || length === 0)
      return [{ ...sequence, key: whole, whole, place: 0 }]
    const blocks = Math.floor(sequence.queryRows.length / length)
    return Array.from({ length: blocks }, (_, b) => ({
      ...block(sequence, b * length, (b + 1) * length),
      key: unitKey(`${ids[i]}\n${b}`),
      whole,
      place: b,
    }))
  })
  return units.sort((a, b) => compareKeys(a.key, b.key))
}

/** Whether queries and keys are the same positions, so that a window of one is a window of the other. */
function cuttable({ keyScope, queryPositions, keyPositions }: LabelSequence): boolean {
  if (keyScope === 'all' || queryPositions.length !== keyPositions.length) return false
  return queryPositions.every((position, i) => position === keyPositions[i])
}

/** The longest length, of those that occur, that keeps nearly as many rows as any; 0 where nothing can be cut. */
function blockLength(sequences: readonly LabelSequence[]): number {
  const lengths = sequences.filter(cuttable).map(({ queryRows }) => queryRows.length)
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

/** A unit with the labels of another of its shape. */
export function withLabelsOf(unit: LabelSequence, donor: LabelSequence): LabelSequence {
  return { ...unit, queryLabels: donor.queryLabels, keyLabels: donor.keyLabels }
}

/**
 * Indices of units by shape and place; those of a group may exchange their labels. Blocks from different places may not:
 * where both labels and activations change along the sequence, a later block differs from an earlier one in both.
 */
export function exchangeGroups(units: readonly LabelUnit[]): number[][] {
  return [...groupBy(units.keys(), (i) => `${shapeOf(units[i])} ${units[i].place}`).values()]
}

/** Whose labels each unit has in a draw, by index; in draw 0 its own. */
export function donorsOf(
  units: readonly LabelUnit[],
  groups: readonly number[][],
  seed: number,
  draw: number,
  stream: number = STREAMS.labels,
): Int32Array {
  const donors = Int32Array.from(units.keys())
  if (draw === 0) return donors
  for (const group of groups) {
    const place = new Map(group.map((i) => [i, unitWord(seed, units[i].key, stream, draw)]))
    const shuffled = [...group].sort((a, b) => place.get(a)! - place.get(b)! || a - b)
    group.forEach((unit, at) => {
      donors[unit] = shuffled[at]
    })
  }
  return donors
}

/** Donors that the mean of a unit's contributions is taken over: all of its group, or evenly spaced ones of a large one. */
export function meanDonors(group: readonly number[], unit: number): number[] {
  if (group.length <= MOST_DONORS) return [...group]
  const at = group.indexOf(unit)
  return Array.from({ length: MOST_DONORS }, (_, i) => {
    return group[(at + Math.floor((i * group.length) / MOST_DONORS)) % group.length]
  })
}

const MOST_DONORS = 256
