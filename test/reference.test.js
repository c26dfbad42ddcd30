/** The API reference: every exported name is described, and one that is not makes `npm run docs` fail. */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import anyTest from 'ava'
import { installTool } from '../scripts/docs/reference/install.mjs'
import { temporaryFolder } from './helpers/files.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = temporaryFolder(anyTest)

// Inside of the package, because TypeDoc judges only what belongs to it; the folder `build` is no part of the checkout.
mkdirSync(path.join(root, 'build'), { recursive: true })
const inside = mkdtempSync(path.join(root, 'build', 'reference-test-'))
anyTest.after.always(() => rmSync(inside, { recursive: true }))

const { installed, unreachable, text } = installTool()
const test = unreachable
  ? (title, run) => anyTest.skip(`${title} (needs the npm registry)`, run)
  : anyTest.serial

function makeReference(...options) {
  const script = path.join(root, 'scripts/docs/reference/make.mjs')
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...options], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  })
  return { status, said: `${stdout}${stderr}` }
}

/** The public surface and something more, as another entry point. */
function makeWith(name, more) {
  const entry = path.join(inside, `${name}.mts`)
  const config = path.join(inside, `${name}.json`)
  const surface = JSON.stringify(path.join(root, 'lib/index.js'))
  writeFileSync(
    entry,
    `/**\n * An entry point.\n *\n * @module ${name}\n */\n\nexport * from ${surface}\n${more}`,
  )
  const compilerOptions = { rootDir: '/', noEmit: true, typeRoots: [path.join(root, 'node_modules/@types')] }
  writeFileSync(
    config,
    JSON.stringify({ extends: path.join(root, 'tsconfig.json'), compilerOptions, include: [entry] }),
  )
  return makeReference('--tsconfig', config, '--entryPoints', entry, '--emit', 'none')
}

test('TypeDoc installs from its lockfile', (t) => {
  t.true(installed, text)
})

test('the lockfile of TypeDoc names no registry', (t) => {
  const lock = JSON.parse(readFileSync(path.join(root, 'docs/tool/package-lock.json'), 'utf8'))
  t.true(Object.keys(lock.packages).length > 2)
  t.deepEqual(
    Object.values(lock.packages).filter(({ resolved }) => resolved !== undefined),
    [],
  )
})

test('every exported name of both entry points is described', (t) => {
  const out = path.join(folder, 'reference')
  const { status, said } = makeReference('--out', out)
  t.is(status, 0, said)
  for (const page of [
    'index.html',
    'functions/qkspace.decompose.html',
    'classes/qkspace.QKCovariance.html',
  ]) {
    t.true(existsSync(path.join(out, page)), page)
  }
  const page = readFileSync(path.join(out, 'classes/qkspace.QKCovariance.html'), 'utf8')
  t.regex(page, /arXiv 2602\.04752/)
})

test('a described export beside the surface passes', (t) => {
  const { status, said } = makeWith(
    'described',
    '/** A number. */\nexport interface Known {\n  /** Its value, a fraction. */\n  value: number\n}\n',
  )
  t.is(status, 0, said)
})

for (const [what, source, complaint] of [
  [
    'a function without a comment',
    'export function planted(): number {\n  return 1\n}\n',
    /planted \(.*does not have any documentation/,
  ],
  [
    'a property without a comment',
    '/** A number. */\nexport interface Planted {\n  value: number\n}\n',
    /Planted\.value \(Property\).*does not have any documentation/,
  ],
  [
    'a type that a public signature names and nothing exports',
    '/** A number. */\ninterface Hidden {\n  /** Its value. */\n  value: number\n}\n\n' +
      '/** Gives a number. */\nexport const planted = (): Hidden => ({ value: 1 })\n',
    /Hidden, defined in .* is referenced by .*planted/,
  ],
  [
    'a link that leads nowhere',
    '/** See {@link nobody}. */\nexport const planted = 1\n',
    /Failed to resolve link to "nobody"/,
  ],
]) {
  test(`refused: ${what}`, (t) => {
    const { status, said } = makeWith('planted', source)
    t.not(status, 0)
    t.regex(said, complaint)
  })
}
