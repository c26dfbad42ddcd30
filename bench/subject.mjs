/** One subject of one case, in a process of its own: verify, then time. Started by `measure.mjs`. */

import { readFileSync } from 'node:fs'
import path from 'node:path'
import { cases } from './cases/index.mjs'

const [name, subject, folder, pace] = process.argv.slice(2)
const quick = pace === 'quick'
const print = (result) => process.stdout.write(`${JSON.stringify(result)}\n`)

try {
  print(await run())
} catch (error) {
  if (error.code === 'ERR_MODULE_NOT_FOUND') {
    print({ missing: `${/'([^']+)'/.exec(error.message)?.[1]} is not installed` })
  } else {
    print({ failed: `${error.message}`.slice(0, 300) })
  }
}
process.exit()

async function run() {
  const meta = JSON.parse(readFileSync(path.join(folder, 'meta.json'), 'utf8'))
  const { load } = cases[name]
  const loaded = await load(subject, meta, folder)
  // Some subjects measure themselves (memory, time to start, delay of the event loop).
  if (loaded.measure) {
    return loaded.measure(quick)
  }
  const { once, verify, scale = 1 } = loaded
  const error = await verify(await once())
  if (!(error <= loaded.tolerance)) {
    return { failed: `wrong by ${error}, allowed ${loaded.tolerance}` }
  }
  return { error, seconds: (await time(once, quick)).map((s) => s * scale), note: loaded.note }
}

async function time(once, brief) {
  const seconds = []
  const least = brief ? 1 : 3
  const enough = brief ? 0.3 : 1.5
  // Slow peers are not made slower by many runs: past a few seconds in all, one run a process is enough.
  for (let total = 0; seconds.length < least || (total < enough && seconds.length < 200); ) {
    const start = process.hrtime.bigint()
    await once()
    const took = Number(process.hrtime.bigint() - start) / 1e9
    seconds.push(took)
    total += took
    if (total > 4) {
      break
    }
  }
  return seconds
}
