/** Commands killed at a few random moments, on a folder with earlier results. `scripts/kill-test.mjs` has many moments. */

import { mkdtempSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { killAtMoments } from '../scripts/kills/kill.mjs'
import { killAndResume } from '../scripts/kills/resume.mjs'
import { temporaryFolder } from './helpers/files.js'

const folder = temporaryFolder(test)

for (const name of ['decompose', 'sweep']) {
  test.serial(`${name} leaves the earlier results or the new ones`, async (t) => {
    const place = mkdtempSync(path.join(folder, `${name}-`))
    const { counts, wrong } = await killAtMoments(name, { folder: place, moments: 6, seed: 1 })
    t.deepEqual(wrong, [])
    t.is((counts.earlier ?? 0) + (counts.new ?? 0), 6, 'one file each time')
  })
}

for (const name of ['decompose', 'sweep']) {
  test.serial(`${name} goes on from its checkpoint to the same files`, async (t) => {
    const place = mkdtempSync(path.join(folder, `${name}-resumed-`))
    const { ends, resumed, wrong } = await killAndResume(name, { folder: place, kills: 6, seed: 1 })
    t.deepEqual(wrong, [])
    t.true(ends >= 1)
    t.true(resumed >= 1, `${resumed} runs went on`)
  })
}
