/** Converts interventions on prompts to inputs of the edit graph: runs, slots, cells and reported rows. */

import type { Run } from '../capture/encode.js'
import { runFeeds } from '../capture/feeds.js'
import type { TermRun } from '../capture/terms/term-runs.js'
import { QkError } from '../errors.js'
import { EDIT_INPUTS } from '../model/graphs/edit-graph.js'
import { int64Tensor, type ModelInput } from '../model/inference/inputs.js'
import type { WireTensor } from '../model/inference/session.js'
import type { Edit } from './edit.js'

export interface EditShape {
  edit: Edit
  side: 'key' | 'query'
  rows: 'query' | 'all'
  /** Factor of the coordinates, for `scale`. */
  factor: number
}

/** The edit of one run. */
export type EditedRun = Pick<TermRun, 'where' | 'run' | 'query' | 'origin' | 'target' | 'donor'>

/** A slot replaces the row `at` by the row `from` times a factor. */
interface Slot {
  at: [run: number, position: number]
  from: [run: number, position: number]
  factor: number
}

export interface EditLayout {
  /** All inputs except the projections and the added rows. */
  feeds: Record<string, WireTensor>
  /**
   * Number of slots on either side. The first slot changes nothing; those of the items follow in turn. A swap of keys
   * has two.
   */
  slots: { query: number; key: number }
}

/**
 * Number of tokens of a run. Without a known `length`, the model's axes are not tokens, and only single rows can be
 * edited.
 */
function lengthOf({ run, where }: EditedRun): number {
  if (run.kind === 'tokens') {
    return run.ids.length
  }
  throw new QkError('ERR_UNSUPPORTED_MODEL', `${where}: this edit needs a prompt of tokens`, {
    hint: "On prompts of tensors, edit keys with rows: 'query'.",
  })
}

export function layEdits(
  items: readonly EditedRun[],
  { edit, side, rows, factor }: EditShape,
  inputs: readonly ModelInput[],
  padId: number,
  fixedRuns?: number,
): EditLayout {
  const runs: Run[] = items.map(({ run }) => run)
  const nothing: Slot = { at: [0, 0], from: [0, 0], factor: 1 }
  const slots = { query: [nothing], key: [nothing] }
  const cells: number[] = []
  const cellSlots = { query: [] as number[], key: [] as number[] }
  const addCell = (run: number, i: number, j: number, slot: number) => {
    cells.push(run, i, j, 0)
    cellSlots.query.push(side === 'query' ? slot : 0)
    cellSlots.key.push(side === 'key' ? slot : 0)
  }
  items.forEach((item, b) => {
    const donorRun = item.donor && runs.push(item.donor.run) - 1
    const editRow = (position: number, other: number | undefined): Slot => {
      const at: Slot['at'] = [b, position]
      if (edit === 'ablate') {
        return { at, from: at, factor: 0 }
      }
      if (edit === 'scale') {
        return { at, from: at, factor }
      }
      if (item.donor) {
        return { at, from: [donorRun!, side === 'key' ? item.donor.key : item.donor.query], factor: 1 }
      }
      return { at, from: [b, other!], factor: 1 }
    }
    if (side === 'key') {
      const edited = [item.origin]
      slots.key.push(editRow(item.origin, item.target))
      if (edit === 'swap') {
        edited.push(item.target!)
        slots.key.push(editRow(item.target!, item.origin))
      }
      const first = slots.key.length - edited.length
      const queries = rows === 'all' ? [...Array(lengthOf(item)).keys()] : [item.query]
      for (const i of queries) {
        for (const [s, j] of edited.entries()) {
          addCell(b, i, j, first + s)
        }
      }
      return
    }
    const slot = slots.query.push(editRow(item.query, undefined)) - 1
    for (let j = 0; j < lengthOf(item); j++) {
      addCell(b, item.query, j, slot)
    }
  })
  const feeds = runFeeds(inputs, runs, padId, fixedRuns)
  feeds[EDIT_INPUTS.cells] = int64Tensor(cells, 4)
  feeds[EDIT_INPUTS.rows] = int64Tensor(
    items.flatMap(({ query }, b) => [b, query, 0]),
    3,
  )
  for (const which of ['query', 'key'] as const) {
    const names = EDIT_INPUTS[which]
    const own = slots[which]
    feeds[names.at] = int64Tensor(
      own.flatMap(({ at }) => [...at, 0]),
      3,
    )
    feeds[names.from] = int64Tensor(
      own.flatMap(({ from }) => [...from, 0]),
      3,
    )
    feeds[names.factor] = {
      type: 'float32',
      dims: [own.length, 1, 1],
      data: Float32Array.from(own, (s) => s.factor),
    }
    feeds[names.cellSlot] = int64Tensor(cellSlots[which], 1)
  }
  return { feeds, slots: { query: slots.query.length, key: slots.key.length } }
}
