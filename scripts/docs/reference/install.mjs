/** Installs TypeDoc and the TypeScript that it takes, a package of its own: the project's TypeScript is newer than TypeDoc reads. */

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { npmCommand } from '../../npm.mjs'

export const tool = fileURLToPath(new URL('../../../docs/tool/', import.meta.url))
const stamp = path.join(tool, 'node_modules', '.up-to-date')

/** How npm says that it could not reach the registry. */
const UNREACHABLE =
  /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED/

/** Installs where the lockfile has changed. `unreachable`: it failed because there is no way to the registry. */
export function installTool() {
  const wanted = digest(['package.json', 'package-lock.json', '.npmrc'])
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) {
    return { installed: true, unreachable: false, text: '' }
  }
  const [command, ...args] = npmCommand('ci', '--ignore-scripts', '--no-audit', '--no-fund')
  const { status, error, stdout, stderr } = spawnSync(command, args, { cwd: tool, encoding: 'utf8' })
  const text = `${error?.message ?? ''}${stdout ?? ''}${stderr ?? ''}`
  if (status === 0) {
    writeFileSync(stamp, wanted)
  }
  return { installed: status === 0, unreachable: status !== 0 && UNREACHABLE.test(text), text }
}

function digest(files) {
  const hash = createHash('sha256').update(process.version)
  for (const file of files) {
    hash.update(file).update(readFileSync(path.join(tool, file)))
  }
  return hash.digest('hex')
}
