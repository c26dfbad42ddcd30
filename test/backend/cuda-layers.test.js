/** The layers of native/cuda: includes go down only, no circle of files, nothing of N-API. */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const native = fileURLToPath(new URL('../../native/', import.meta.url))
/** Folders of native/cuda, the lowest first. What lies in none of them is above all. */
const LAYERS = ['runtime', 'rows', 'products', 'covariance', 'svd']
const MOST_FILES = 15
const MOST_LINES = 400

const files = readdirSync(join(native, 'cuda'), { recursive: true })
  .map((name) => join('cuda', name).replaceAll('\\', '/'))
  .filter((name) => statSync(join(native, name)).isFile())
const textOf = (file) => readFileSync(join(native, file), 'utf8')
/** Files included by name; headers of the compiler are in angle brackets, those of the emulator end with _on_host.h. */
const includesOf = (file) =>
  [...textOf(file).matchAll(/^#include "(.+)"$/gm)]
    .map((m) => m[1])
    .filter((name) => !/_on_host\.h$/.test(name))

function layerOf(file) {
  if (!file.startsWith('cuda/')) return -1
  const [, folder, inside] = file.split('/')
  return inside ? LAYERS.indexOf(folder) : LAYERS.length
}

test('every folder of native/cuda is a layer, of few and short files', (t) => {
  const counts = {}
  for (const file of files) {
    const folder = file.slice(0, file.lastIndexOf('/'))
    counts[folder] = (counts[folder] ?? 0) + 1
    t.true(layerOf(file) >= 0, `${file} is in no layer`)
    t.true(textOf(file).split('\n').length <= MOST_LINES, `${file} is long`)
  }
  for (const [folder, count] of Object.entries(counts)) {
    t.true(count <= MOST_FILES, `${folder} has ${count} files`)
  }
})

test('includes are written from native/ and go down', (t) => {
  for (const file of files) {
    for (const included of includesOf(file)) {
      t.regex(included, /^(cuda\/|common\/|abi\.h$)/, `${file} includes ${included}`)
      t.true(layerOf(included) <= layerOf(file), `${file} includes ${included}, which is above it`)
    }
  }
})

test('no file includes itself, over however many others', (t) => {
  const done = new Set()
  const visit = (file, above) => {
    if (above.includes(file)) {
      t.fail([...above, file].join(' -> '))
    }
    if (done.has(file) || !file.startsWith('cuda/')) {
      return
    }
    done.add(file)
    for (const included of includesOf(file)) {
      visit(included, [...above, file])
    }
  }
  for (const file of files) {
    visit(file, [])
  }
  t.pass()
})

test('nothing of N-API', (t) => {
  for (const file of files) {
    t.notRegex(textOf(file), /#include [<"](napi|node_api|js_native_api)/, file)
  }
})
