/** A package whose addon was never built: every attempt is listed with the fix, and js still works. */

import { cp, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const root = fileURLToPath(new URL('../../', import.meta.url))

test('a missing binary', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'qkspace-load-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  for (const part of ['backend', 'errors.js', 'math', 'validate.js']) {
    await cp(join(root, 'dist', part), join(folder, 'dist', part), { recursive: true })
  }

  const { backends, selectBackend } = await import(join(folder, 'dist/backend/select.js'))
  const cpu = backends().find((b) => b.name === 'cpu')
  t.false(cpu.available)
  t.true(cpu.reason.includes(join(folder, 'build', 'Release', 'qkspace.node')))
  /** @type {import('../../dist/index.js').QkError} */
  const error = t.throws(() => selectBackend('cpu'))
  t.is(error.code, 'ERR_ADDON_LOAD')
  t.regex(error.hint, /npx qkspace build/)
  t.is(selectBackend('auto').name, 'js')
})
