/**
 * Tries inputs one after another: `child.mjs TARGET SEED FROM TO FOLDER`. Before each it writes its number to the file
 * `progress`, so that whoever watches knows at which one the process died. What it finds goes to standard output, a
 * JSON document a line.
 */

import { openSync, writeSync } from 'node:fs'
import path from 'node:path'
import { inputOf, isRefusal, loadTarget, tryInput } from './inputs.mjs'

const [name, seed, from, to, folder] = process.argv.slice(2)
const progress = openSync(path.join(folder, 'progress'), 'w')
let index = Number(from)

const tell = (found) => writeSync(1, `${JSON.stringify(found)}\n`)
for (const event of ['uncaughtException', 'unhandledRejection']) {
  process.on(event, (error) => {
    tell({ index, kind: event, message: `${error?.stack ?? error}` })
    process.exit(3)
  })
}

const target = await loadTarget(name)
const prepared = await target.prepare(folder)
for (; index < Number(to); index++) {
  const number = Buffer.alloc(8)
  number.writeDoubleLE(index)
  writeSync(progress, number, 0, 8, 0)
  const error = await tryInput(target, inputOf(target, prepared, Number(seed), index), folder, prepared)
  if (error === undefined) {
    tell({ outcome: 'taken' })
  } else if (isRefusal(error)) {
    tell({ outcome: error.code })
  } else {
    tell({ index, kind: 'error without a code', message: `${error?.stack ?? error}` })
  }
}
tell({ finished: true })
process.exit(0)
