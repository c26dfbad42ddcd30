/** How the files of native/ include each other; test/layers.test.js has their order. */

import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const native = fileURLToPath(new URL('../../native/', import.meta.url))

const files = readdirSync(native, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.(h|cc|cu|cuh)$/.test(entry.name))
  .map((entry) => join(entry.parentPath, entry.name).slice(native.length).replaceAll('\\', '/'))
const text = new Map(files.map((file) => [file, readFileSync(join(native, file), 'utf8')]))

const included = (file, form) => [...text.get(file).matchAll(form)].map((match) => match[1])
const quoted = (file) => included(file, /^\s*#\s*include\s+"([^"]+)"/gm)
const system = (file) => included(file, /^\s*#\s*include\s+<([^>]+)>/gm)

/** Of the CUDA runtime that runs on the host (test/cuda-on-host), included where that is what is built. */
const outside = /_on_host\.h$/

test('includes are written from native/, and name a file', (t) => {
  for (const file of files) {
    for (const name of quoted(file)) {
      t.true(text.has(name) || outside.test(name), `${file} includes "${name}"`)
      t.is(name, posix.normalize(name))
    }
  }
})

/**
 * A function of the system that is compiled for a wider instruction set could be the copy that the linker keeps for
 * all. So what is included within a target region brings no system header that was not there before it.
 */
test('within a target region nothing of the system is included for the first time', (t) => {
  const all = (file, seen = new Set()) => {
    if (seen.has(file)) {
      return seen
    }
    seen.add(file)
    for (const name of quoted(file)) {
      all(name, seen)
    }
    return seen
  }
  const kernels = all('cpu/isa/avx512.cc')
  const early = new Set([...all('cpu/kernels.h'), ...all('cpu/vectors/before_target.h')])
  const late = [...kernels].filter((file) => !early.has(file))
  t.true(late.length > 10)
  for (const file of late) {
    t.deepEqual(system(file), [], file)
  }
  for (const set of ['avx2', 'avx512']) {
    const names = quoted(`cpu/isa/${set}.cc`)
    const region = names.indexOf('cpu/vectors/target_begin.h')
    t.deepEqual(names.slice(0, region), ['cpu/kernels.h', 'cpu/vectors/before_target.h'])
  }
})
