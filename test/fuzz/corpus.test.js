/** What fuzzers have found, and what must come of it. Files of test/corpus; their folders are the targets of scripts/fuzz. */

import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { loadTarget } from '../../scripts/fuzz/inputs.mjs'
import { temporaryFolder } from '../helpers/files.js'

const corpus = fileURLToPath(new URL('../corpus/', import.meta.url))
const expected = JSON.parse(readFileSync(path.join(corpus, 'expected.json'), 'utf8'))
const folder = temporaryFolder(test)

test('every file has an expectation, and every expectation a file', (t) => {
  const files = readdirSync(corpus, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'expected.json')
    .map((entry) => path.relative(corpus, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, '/'))
  t.deepEqual(files.sort(), Object.keys(expected).sort())
})

for (const [file, code] of Object.entries(expected)) {
  test(`${file} is ${code === 'taken' ? 'taken' : `refused by ${code}`}`, async (t) => {
    const target = await loadTarget(path.dirname(file))
    const prepared = await target.prepare(folder)
    const run = () => target.run(path.join(corpus, file), prepared)
    if (code === 'taken') {
      await t.notThrowsAsync(run)
    } else {
      const error = await t.throwsAsync(run, { name: 'QkError', code })
      t.false(/undefined|NaN|\[object/.test(error.message), error.message)
    }
  })
}
