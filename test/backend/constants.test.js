/** Numbers that TypeScript and the addon both have are compared when the addon is loaded. */

import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { constantThatDiffers, loadAddon } from '../../dist/backend/addon/load.js'
import { CONSTANTS } from '../../dist/backend/addon-types.js'

const root = fileURLToPath(new URL('../../', import.meta.url))

test('the addon that is built has the numbers of this package', (t) => {
  t.deepEqual(loadAddon().constants, CONSTANTS)
  t.is(constantThatDiffers(loadAddon().constants, CONSTANTS), undefined)
})

test('a package with another number refuses the addon, and names the constant and both values', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'qkspace-constants-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  for (const part of ['node_modules', 'build']) {
    await symlink(join(root, part), join(folder, part))
  }
  await cp(join(root, 'dist'), join(folder, 'dist'), { recursive: true })
  const file = join(folder, 'dist', 'backend', 'addon-types.js')
  const source = await readFile(file, 'utf8')
  t.true(source.includes('bf16: 2'))
  await writeFile(file, source.replace('bf16: 2', 'bf16: 7'))

  const elsewhere = await import(join(folder, 'dist', 'backend', 'addon', 'load.js'))
  /** @type {import('../../dist/index.js').QkError} */
  const error = t.throws(() => elsewhere.loadAddon())
  t.is(error.code, 'ERR_ADDON_LOAD')
  t.regex(error.message, /its constant dtype\.bf16 is 2, expected 7/)
  t.regex(error.hint, /npx qkspace build/)
})

test('constants that one side lacks differ too, and so does an addon that has none', (t) => {
  const { abiVersion, ...older } = CONSTANTS
  t.regex(constantThatDiffers(older, CONSTANTS), /abiVersion is undefined, expected 4/)
  t.regex(constantThatDiffers({ ...CONSTANTS, more: 1 }, CONSTANTS), /more is 1, expected undefined/)
  t.regex(constantThatDiffers(undefined, CONSTANTS), /table is undefined/)
  const status = { ...CONSTANTS.status, ERR_SHAPE: 3 }
  t.regex(constantThatDiffers({ ...CONSTANTS, status }, CONSTANTS), /status\.ERR_SHAPE is 3, expected 2/)
  t.is(abiVersion, 4)
})
