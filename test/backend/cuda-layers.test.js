/** The layers of native/cuda: includes go down only. */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const native = fileURLToPath(new URL('../../native/', import.meta.url))
/** Folders of native/cuda, the lowest first. What lies in none of them is above all. */
const LAYERS = ['runtime', 'rows', 'products', 'covariance', 'svd']

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

test('every folder of native/cuda is a layer', (t) => {
  for (const file of files) {
    t.true(layerOf(file) >= 0, `${file} is in no layer`)
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
