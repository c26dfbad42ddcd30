/**
 * Measures what the test of rank promises, over simulated data: false positives, planted ranks, many heads, power.
 *
 *   npm run calibrate -- [--quick] [--only REGEXP] [--fresh] [--table]
 *
 * Goes on where the last run stopped. `--quick`: small cells of every kind, kept in a temporary folder. `--table`: prints
 * what is there and measures nothing. Exit status 1 where a bar is missed.
 */

import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { machine } from '../../bench/machine.mjs'
import { judge } from './bars.mjs'
import { FULL, MEASURES, QUICK } from './cells.mjs'
import { Results } from './store.mjs'

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean' },
    only: { type: 'string' },
    fresh: { type: 'boolean' },
    table: { type: 'boolean' },
  },
})

const file = options.quick
  ? path.join(tmpdir(), 'qkspace-calibration-quick.json')
  : fileURLToPath(new URL('../../bench/results/calibration.json', import.meta.url))
const results = new Results(file, { fresh: options.fresh })
const only = new RegExp(options.only ?? '')
const cells = (options.quick ? QUICK : FULL).filter(({ id }) => only.test(id))

if (!options.table) {
  await measure()
}
report()

async function measure() {
  const here = machine()
  for (const [i, cell] of cells.entries()) {
    if (results.get(cell)) {
      continue
    }
    const begin = performance.now()
    const result = await MEASURES[cell.group](cell.id, cell.params)
    const seconds = (performance.now() - begin) / 1000
    results.add(cell, result, seconds, { ...here, date: new Date().toISOString() })
    process.stderr.write(`${i + 1} of ${cells.length}: ${cell.id} (${seconds.toFixed(1)} s)\n`)
  }
}

function report() {
  const done = cells.map((cell) => ({ cell, result: results.get(cell) })).filter(({ result }) => result)
  const rows = judge(done)
  let group
  for (const row of rows) {
    if (row.group !== group) {
      process.stdout.write(`\n${row.group}\n`)
    }
    group = row.group
    process.stdout.write(
      `${row.missed ? 'MISSED ' : '       '}${row.name.padEnd(66)} ${row.figure}  ${row.note}\n`,
    )
  }
  const missed = rows.filter((row) => row.missed)
  process.stdout.write(`\n${done.length} of ${cells.length} cells, ${missed.length} figures miss their bar\n`)
  if (missed.length > 0) {
    process.exitCode = 1
  }
}
