/** Rows of many units, written to a file, entered from it, and written again. */

import path from 'node:path'
import test from 'ava'
import { KeptRows } from '../../dist/covariance/kept/kept-rows.js'
import { RowIndex } from '../../dist/covariance/kept/row-index.js'
import { enterSavedRows, noRows, rowTensors } from '../../dist/covariance/saved/saved-rows.js'
import { CheckedFile, writeChecked } from '../../dist/store/saving/checked-tensors.js'
import { temporaryFolder } from '../helpers/files.js'

const folder = temporaryFolder(test)
/** More than the arguments that a call may have. */
const SEQUENCES = 150_000

/** @returns {any} Sums of one group of heads and one contrast, as far as rows go. */
function emptySums() {
  const kept = new KeptRows(
    { heads: 1, kvHeads: 1, headDim: 1 },
    new RowIndex('per-query', [false], () => true),
    undefined,
  )
  return { contrasts: ['c'], sites: [{ groups: [{ kept }] }] }
}

const keptOf = (sums) => sums.sites[0].groups[0].kept

test('as many label sequences as prompts: the same rows, read once from their file', async (t) => {
  const sums = emptySums()
  const { index } = keptOf(sums)
  const stored = keptOf(sums).stored(0, 'labels')
  const own = Int32Array.of(0)
  for (let i = 0; i < SEQUENCES; i++) {
    const labels = { queryLabels: own, keyLabels: own, queryPositions: own, keyPositions: own }
    index.enterSequence(
      { contrast: 0, keyScope: 'others', queryRows: own, keyRows: own, ...labels },
      `u${i}`,
      i,
    )
    stored.q.push({ length: 1, data: Float32Array.of(i) })
    stored.k.push({ length: 1, data: Float32Array.of(-i) })
  }
  const [first, second] = ['first', 'second'].map((name) => path.join(folder, `${name}.safetensors`))
  await writeChecked(first, {}, rowTensors(sums, noRows(sums)))

  const file = await CheckedFile.open(first)
  const reads = []
  const read = file.read.bind(file)
  file.read = (name, dtype) => {
    reads.push(name)
    return read(name, dtype)
  }
  const entered = emptySums()
  await enterSavedRows(entered, [file])
  t.false(
    reads.some((name) => name.startsWith('g0')),
    'numbers stay in the file',
  )
  await writeChecked(second, {}, rowTensors(entered, noRows(entered)))
  t.is(reads.filter((name) => name === 'g0.c0.labels.q').length, 1)

  const again = emptySums()
  await enterSavedRows(again, [await CheckedFile.open(second)])
  const [expected, found] = [await keptOf(sums).read(0), await keptOf(again).read(0)]
  t.deepEqual(found.q, expected.q)
  t.deepEqual(found.k, expected.k)
  t.deepEqual(found.unitIds, expected.unitIds)
  t.is(found.sequences.length, SEQUENCES)
})
