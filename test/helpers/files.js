/** Temporary folders, and models that are not part of the package. */

import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** A folder that is removed when the test file ends. */
export function temporaryFolder(test) {
  const folder = mkdtempSync(path.join(tmpdir(), 'qkspace-test-'))
  test.after.always(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export const cli = path.join(root, 'dist/cli/main.js')

const shared = path.join(root, '../shared/models')

/** Path of a model of the shared collection. */
export const sharedModel = (name) => path.join(shared, name)

/** `test`, or `test.skip` under a name that says why, where the shared collection is absent. */
export function withSharedModels(test) {
  if (existsSync(shared)) {
    return test
  }
  return (title, ...rest) => test.skip(`${title} (needs ../shared/models)`, ...rest)
}
