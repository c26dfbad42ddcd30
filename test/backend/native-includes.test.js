/** The layers of native/: abi.h below common, that below cpu and cuda, those below addon; N-API in addon alone. */

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

const layer = (file) => (file.includes('/') ? file.split('/')[0] : 'abi')
const below = { abi: [], common: ['abi'], cpu: ['abi', 'common'], cuda: ['abi', 'common'] }
below.addon = ['abi', 'common', 'cpu']

/** Of the CUDA runtime that runs on the host (test/cuda-on-host), included where that is what is built. */
const outside = ['tensor_core_on_host.h']

test('includes are written from native/, and name a file', (t) => {
  for (const file of files) {
    for (const name of quoted(file)) {
      t.true(text.has(name) || outside.includes(name), `${file} includes "${name}"`)
      t.is(name, posix.normalize(name))
    }
  }
})

test('a layer includes itself and those below it', (t) => {
  for (const file of files) {
    for (const name of quoted(file)) {
      if (outside.includes(name)) continue
      const allowed = [layer(file), ...below[layer(file)]]
      t.true(allowed.includes(layer(name)), `${file} includes "${name}"`)
    }
  }
})

test('only the addon includes N-API', (t) => {
  for (const file of files) {
    if (layer(file) === 'addon') continue
    const names = [...system(file), ...quoted(file)]
    t.deepEqual(
      names.filter((name) => /napi|node_api|node\.h|v8|uv\.h/.test(name)),
      [],
      file,
    )
  }
})

test('no circle of files', (t) => {
  const done = new Set()
  const visit = (file, path) => {
    if (done.has(file)) return
    if (path.includes(file)) throw new Error([...path.slice(path.indexOf(file)), file].join(' -> '))
    for (const name of quoted(file)) if (text.has(name)) visit(name, [...path, file])
    done.add(file)
  }
  t.notThrows(() => {
    for (const file of files) visit(file, [])
  })
})

/**
 * A function of the system that is compiled for a wider instruction set could be the copy that the linker keeps for
 * all. So what is included within a target region brings no system header that was not there before it.
 */
test('within a target region nothing of the system is included for the first time', (t) => {
  const all = (file, seen = new Set()) => {
    if (seen.has(file)) return seen
    seen.add(file)
    for (const name of quoted(file)) all(name, seen)
    return seen
  }
  const kernels = all('cpu/isa/avx512.cc')
  const early = new Set([...all('cpu/kernels.h'), ...all('cpu/vectors/before_target.h')])
  const late = [...kernels].filter((file) => !early.has(file))
  t.true(late.length > 10)
  for (const file of late) t.deepEqual(system(file), [], file)
  for (const set of ['avx2', 'avx512']) {
    const names = quoted(`cpu/isa/${set}.cc`)
    const region = names.indexOf('cpu/vectors/target_begin.h')
    t.deepEqual(names.slice(0, region), ['cpu/kernels.h', 'cpu/vectors/before_target.h'])
  }
})
