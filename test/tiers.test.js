/** The two tiers: together they are all tests, and the fast one has some of every kind. */

import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import all from '../ava.config.js'
import fast from '../ava.fast.config.js'
import { SLOW, slowFiles } from './tiers.js'

const here = fileURLToPath(new URL('.', import.meta.url))
const files = readdirSync(here, { recursive: true })
  .map((name) => path.posix.join('test', name.replaceAll(path.sep, '/')))
  .filter((name) => name.endsWith('.test.js'))
const slow = slowFiles()
const quick = files.filter((name) => !slow.includes(name))

test('every name of the slow tier is there, once', (t) => {
  for (const name of Object.values(SLOW).flat()) {
    t.true(existsSync(path.join(here, '..', name)), name)
  }
  t.deepEqual([...new Set(slow)], slow)
  t.deepEqual(
    slow.filter((name) => !files.includes(name)),
    [],
  )
})

test('the fast tier takes all tests but those', (t) => {
  t.deepEqual(all.files, ['test/**/*.test.js'])
  t.deepEqual(fast, { ...all, files: [...all.files, ...slow.map((name) => `!${name}`)] })
})

test('the fast tier has tests of every kind', (t) => {
  for (const kind of [
    'test/backend/conformance-js.test.js',
    'test/backend/conformance-avx2.test.js',
    'test/backend/worker-threads.test.js',
    'test/capture.test.js',
    'test/cli.test.js',
    'test/fuzz/corpus.test.js',
    'test/layers.test.js',
    'test/privacy.test.js',
    'test/rank/test-rank.test.js',
    'test/report/page.test.js',
    'test/store.test.js',
    'test/sweep/sweep.test.js',
  ]) {
    t.true(quick.includes(kind), kind)
  }
})
