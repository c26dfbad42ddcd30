/** Packs what is published, and installs it where nothing else is. */

import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../', import.meta.url))

/** Runs a program to its end; its output and status. */
export function runProgram(program, args, options = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  const text = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) {
    child[name].setEncoding('utf8').on('data', (chunk) => {
      text[name] += chunk
    })
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (status) => resolve({ ...text, status }))
  })
}

/** Packs the packages named into a folder of their own; what `packages.json` says of each, by its name. */
export async function packPackages(folder, names, options = []) {
  const out = mkdtempSync(path.join(folder, 'packages-'))
  const script = path.join(root, 'scripts', 'package', 'all.mjs')
  const args = [script, '--out', out, '--only', names.join(','), ...options]
  const { status, stdout, stderr } = await runProgram(process.execPath, args)
  if (status !== 0) {
    throw new Error(`packing failed:\n${stdout}${stderr}`)
  }
  const packed = JSON.parse(readFileSync(path.join(out, 'packages.json'), 'utf8'))
  return new Map(packed.map((one) => [one.name, { ...one, staged: path.join(out, 'staged') }]))
}

/** npm's own script, whichever npm runs the tests. */
const npm =
  process.env.npm_execpath ?? realpathSync(spawnSync('which', ['npm'], { encoding: 'utf8' }).stdout.trim())

/** An environment with node, npm, npx and a shell on its PATH, and neither compiler nor CMake nor Python. */
export function bareEnvironment(folder) {
  const bin = path.join(folder, 'bin')
  mkdirSync(bin)
  const programs = {
    node: process.execPath,
    npm,
    npx: npm.replace(/npm-cli\.js$/, 'npx-cli.js'),
    sh: '/bin/sh',
  }
  for (const [name, program] of Object.entries(programs)) {
    symlinkSync(program, path.join(bin, name))
  }
  // Settings of the npm that runs the tests are not a user's.
  const kept = Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_|QKSPACE_|ORT|AVA)/i.test(name))
  return { ...Object.fromEntries(kept), PATH: bin }
}

/** `npm install --ignore-scripts` of archives or names into a folder. */
export async function installInto(folder, what, env = process.env, more = []) {
  mkdirSync(folder, { recursive: true })
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }')
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline', ...more]
  const { status, stderr } = await runProgram(process.execPath, [npm, 'install', ...flags, ...what], {
    cwd: folder,
    env,
  })
  if (status !== 0) {
    throw new Error(`npm install failed:\n${stderr}`)
  }
}
