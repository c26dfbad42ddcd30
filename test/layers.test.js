/** The folders are the pipeline: nothing imports upwards, no files import each other in a circle, none outgrows its purpose. */

import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { circles, importsOf, LAYERS, overgrown, readTree, upwardImports } from './helpers/layers.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const lib = readTree(root, 'lib')
const native = readTree(root, 'native')

const withText = (files, file, added) => new Map(files).set(file, `${added}\n${files.get(file) ?? ''}`)

for (const [name, files] of [
  ['lib', lib],
  ['native', native],
]) {
  test(`${name}: no file imports upwards`, (t) => {
    t.deepEqual(upwardImports(importsOf(files)), [])
  })

  test(`${name}: no circle of files`, (t) => {
    t.deepEqual(circles(importsOf(files)), [])
  })

  test(`${name}: no folder and no file outgrows its purpose`, (t) => {
    t.deepEqual(overgrown(files), [])
  })
}

test('every part that has a place in the order is there', (t) => {
  const known = [...lib.keys(), ...native.keys()]
  for (const part of LAYERS.flat()) {
    t.true(
      known.some((file) => file.startsWith(`${part}/`) || file.replace(/\.[a-z]+$/, '') === part),
      part,
    )
  }
})

test('imports are seen: those of TypeScript, of the page, of style sheets, of workers and of C++', (t) => {
  const seen = importsOf(lib)
  t.true(seen.get('lib/spectrum/decompose.ts').includes('lib/spectrum/svd.ts'))
  t.true(seen.get('lib/report/page/main.js').includes('lib/report/page/sections/maps.js'))
  t.true(seen.get('lib/report/page/page.css').includes('lib/report/page/style/base.css'))
  t.true(seen.get('lib/model/inference/session.ts').includes('lib/model/inference/session-worker.ts'))
  t.true(importsOf(native).get('native/common/batch.cc').includes('native/common/batch.h'))
})

test('an upward import that is planted is found', (t) => {
  const planted = withText(lib, 'lib/math/basis.ts', "import { svd } from '../spectrum/svd.js'")
  t.deepEqual(upwardImports(importsOf(planted)), [
    'lib/math/basis.ts (lib/math) imports lib/spectrum/svd.ts (lib/spectrum)',
  ])
  const included = withText(native, 'native/common/pool.cc', '#include "cpu/backend.h"')
  t.deepEqual(upwardImports(importsOf(included)), [
    'native/common/pool.cc (native/common) imports native/cpu/backend.h (native/cpu)',
  ])
})

test('parts side by side do not import each other', (t) => {
  const planted = withText(native, 'native/cpu/backend.h', '#include "cuda/planted.h"')
  planted.set('native/cuda/planted.h', '')
  t.deepEqual(upwardImports(importsOf(planted)), [
    'native/cpu/backend.h (native/cpu) imports native/cuda/planted.h (native/cuda)',
  ])
})

test('a circle that is planted is found, within a folder too', (t) => {
  const planted = withText(lib, 'lib/math/random.ts', "import { project } from './basis.js'")
  t.deepEqual(circles(importsOf(planted)), [['lib/math/basis.ts', 'lib/math/random.ts']])
  const included = withText(native, 'native/common/prepared_batch.h', '#include "common/batch.h"')
  t.true(circles(importsOf(included)).some((circle) => circle.includes('native/common/prepared_batch.h')))
})

test('a folder and a file that outgrow their purpose are found', (t) => {
  const crowded = new Map(lib)
  for (let i = 0; i < 16; i++) {
    crowded.set(`lib/crowded/part-${i}.ts`, '')
  }
  crowded.set('lib/citation/long.ts', 'x\n'.repeat(401))
  t.deepEqual(overgrown(crowded), ['lib/crowded holds 16 files', 'lib/citation/long.ts has 401 lines'])
})

test('what computes knows nothing of Node: no native file below the addon includes its headers', (t) => {
  const below = [...native].filter(([file]) => !file.startsWith('native/addon/'))
  const wrong = below.filter(([, text]) =>
    /#\s*include\s+[<"](napi|node_api|js_native_api|node)\b/.test(text),
  )
  t.deepEqual(
    wrong.map(([file]) => file),
    [],
  )
})

test('the interface to arithmetic imports types alone', (t) => {
  const text = readFileSync(new URL('../lib/backend/backend.ts', import.meta.url), 'utf8')
  const imports = text.match(/^import .*$/gm)
  t.true(imports.every((line) => line.startsWith('import type ') && line.includes('/math/')))
})

test('docs/architecture.md names every folder, and none that is not there', (t) => {
  const text = readFileSync(new URL('../docs/architecture.md', import.meta.url), 'utf8')
  for (const [root, files] of Object.entries({ lib, native })) {
    const folders = new Set(
      [...files.keys()].map((file) => file.split('/')[1]).filter((name) => !name.includes('.')),
    )
    const table = text.slice(text.indexOf(`| folder of \`${root}/\``)).split('\n\n')[0]
    for (const name of folders) {
      t.true(table.includes(`\`${name}/\``), `${root}/${name} is not described`)
    }
  }
  const paths = [...text.matchAll(/`((?:lib|native|test|scripts)\/[\w./-]+)`/g)].map(([, path]) => path)
  t.true(paths.length > 20)
  for (const path of paths) {
    t.true(existsSync(new URL(`../${path}`, import.meta.url)), path)
  }
})
