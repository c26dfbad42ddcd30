/** The API reference: every exported name, and every property of it, has a comment. */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { temporaryFolder } from './helpers/files.js'
import { root, runProgram } from './helpers/packages.js'

const folder = temporaryFolder(test)
const reference = (...args) =>
  runProgram(process.execPath, [path.join(root, 'scripts', 'docs', 'reference.mjs'), ...args])

test.serial('everything that qkspace and qkspace/arrays export is documented', async (t) => {
  t.timeout(300_000)
  const out = path.join(folder, 'reference')
  const { status, stderr } = await reference('--out', out)
  t.is(stderr, '')
  t.is(status, 0)
  for (const page of ['functions/qkspace.openModel.html', 'classes/qkspace.QKCovariance.html']) {
    t.true(existsSync(path.join(out, page)), page)
  }
  t.regex(readFileSync(path.join(out, 'index.html'), 'utf8'), /qkspace\/arrays/)
})

test.serial('a name, a property or a method without a comment fails it, by name', async (t) => {
  t.timeout(300_000)
  const build = path.join(root, 'build')
  mkdirSync(build, { recursive: true })
  const planted = mkdtempSync(path.join(build, 'reference-'))
  t.teardown(() => rmSync(planted, { recursive: true, force: true }))
  writeFileSync(
    path.join(planted, 'planted.ts'),
    `/** Documented. */
export interface Known {
  told: number
  /** Said. */
  said: number
}
/** Documented. */
export class Counter { count(): number { return 1 } }
export function silent(): number { return 1 }
`,
  )
  const config = {
    extends: '../../tsconfig.json',
    compilerOptions: { rootDir: '.' },
    include: ['planted.ts'],
  }
  writeFileSync(path.join(planted, 'tsconfig.json'), JSON.stringify(config))
  const { status, stderr } = await reference(
    ...['--out', path.join(folder, 'planted')],
    ...['--entry', path.join(planted, 'planted.ts'), '--tsconfig', path.join(planted, 'tsconfig.json')],
  )
  t.is(status, 1)
  t.is(stderr.trim(), 'without a comment:\n  Counter.count\n  Known.told\n  silent')
})
