/** Kills a run that has a checkpoint, again and again, and starts it again: its results must be those of one that was not. */

import { copyFileSync, existsSync, mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { seededRandom } from '../../dist/math/random.js'
import { COMMANDS, filesAfter, filesOf, run } from './kill.mjs'

/** By name: arguments that go on from the folder `state`, which is written after every batch. */
export const RESUMED = {
  decompose: [...COMMANDS.decompose(1), '--checkpoint', 'state', '--every', '0'],
  sweep: [...COMMANDS.sweep(1), '--checkpoint', 'state', '--every', '0'],
}

/**
 * `kills` times SIGKILL at a random moment, each time of a run that goes on from what the one before left; a run that ends
 * before its moment is compared, and the next begins anew. `ends` says how many ended, the last one included; `wrong` has a
 * line for every one whose files differ, and for every run that failed by itself.
 */
export async function killAndResume(name, { folder, kills, seed }) {
  const random = seededRandom(seed)
  const whole = path.join(folder, 'whole')
  const started = performance.now()
  const expected = await filesAfter(whole, COMMANDS[name](1))
  const length = performance.now() - started
  const place = path.join(folder, 'killed')
  const begin = () => {
    rmSync(place, { recursive: true, force: true })
    mkdirSync(path.join(place, 'results'), { recursive: true })
  }
  const manifest = path.join(place, 'state', 'checkpoint.json')
  /**
   * The first kill comes with the first checkpoint, so that at least one run goes on; the last run is not killed.
   * @returns {{ signal?: NodeJS.Signals, delay?: number, once?: string }}
   */
  const killOf = (i) => {
    if (i === kills) {
      return {}
    }
    const delay = random.next() * length
    return i === 0 ? { signal: 'SIGKILL', once: manifest } : { signal: 'SIGKILL', delay }
  }
  const wrong = []
  let ends = 0
  let resumed = 0
  begin()
  for (let i = 0; i <= kills; i++) {
    copyFileSync(path.join(whole, 'prompts.jsonl'), path.join(place, 'prompts.jsonl'))
    resumed += existsSync(manifest) ? 1 : 0
    const ended = await run(place, RESUMED[name], killOf(i))
    if (ended.signal === 'SIGKILL') {
      continue
    }
    if (ended.status !== 0) {
      wrong.push(`run ${i}: ${ended.status} ${ended.stderr}`)
    } else {
      ends += 1
      for (const [file, bytes] of expected) {
        if (!filesOf(place).get(file)?.equals(bytes)) {
          wrong.push(`run ${i}: ${file} is not that of a run that was not killed`)
        }
      }
    }
    begin()
  }
  return { ends, resumed, wrong }
}
