/** Runs the `qkspace` command. */

import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { cli } from './files.js'

/** Its output, its status, and what it left in a fresh folder under `folder`; `env` is added to this process's own. */
export function runCommand(folder, args, env = {}) {
  const cwd = mkdtempSync(path.join(folder, 'run-'))
  const child = spawn(process.execPath, [cli, ...args], { cwd, env: { ...process.env, ...env } })
  const text = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) {
    child[name].setEncoding('utf8').on('data', (chunk) => {
      text[name] += chunk
    })
  }
  return new Promise((resolve) => {
    child.on('close', (status) => resolve({ ...text, status, left: readdirSync(cwd).sort(), cwd }))
  })
}
