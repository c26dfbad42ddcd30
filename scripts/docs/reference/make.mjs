/**
 * Makes the API reference of the public entry points as static pages in build/reference. A missing comment, and a type that
 * a public signature names but nothing exports, fail it. Further arguments go to TypeDoc.
 */

import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { installTool, tool } from './install.mjs'

const { installed, text } = installTool()
if (!installed) {
  process.stderr.write(`${text}\nTypeDoc could not be installed in docs/tool\n`)
  process.exit(1)
}
const typedoc = path.join(tool, 'node_modules/typedoc/bin/typedoc')
const { status, error } = spawnSync(process.execPath, [typedoc, ...process.argv.slice(2)], {
  cwd: tool,
  stdio: 'inherit',
})
if (error) {
  process.stderr.write(`TypeDoc could not be started: ${error.message}\n`)
}
process.exit(status ?? 1)
