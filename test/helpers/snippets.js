/** The code blocks of the documentation, and a folder in which they run as they are written. */

import { copyFileSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { bundledFile } from '../../dist/index.js'
import { cli } from './files.js'
import { root, runProgram } from './packages.js'

const RUN = ['js', 'ts', 'sh', 'python']

/** Blocks of a page that could run, in order. */
export function blocksOf(page) {
  const text = readFileSync(path.join(root, page), 'utf8')
  const blocks = [...text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
  return blocks
    .map(([, language, code]) => ({ language, code }))
    .filter(({ language }) => RUN.includes(language))
}

/** README and all pages of docs/ with such blocks. */
export function pages() {
  const docs = readdirSync(path.join(root, 'docs')).filter((name) => name.endsWith('.md'))
  return ['README.md', ...docs.map((name) => `docs/${name}`)].filter((page) => blocksOf(page).length > 0)
}

/**
 * A folder that looks like a checkout and like an application: sources and `dist` by links, `qkspace` installed, the
 * bundled transformer as `model.onnx` with its tokenizer beside it.
 */
export function prepareFolder(folder) {
  mkdirSync(path.join(folder, 'node_modules'))
  mkdirSync(path.join(folder, 'bin'))
  symlinkSync(root, path.join(folder, 'node_modules', 'qkspace'))
  for (const part of ['dist', 'lib', 'docs', 'examples', 'package.json']) {
    symlinkSync(path.join(root, part), path.join(folder, part))
  }
  copyFileSync(bundledFile('boxes.onnx'), path.join(folder, 'model.onnx'))
  copyFileSync(bundledFile('boxes.tokenizer.json'), path.join(folder, 'tokenizer.json'))
  const run = `exec ${process.execPath} ${cli}`
  writeFileSync(path.join(folder, 'bin', 'qkspace'), `#!/bin/sh\n${run} "$@"\n`, { mode: 0o755 })
  writeFileSync(path.join(folder, 'bin', 'npx'), `#!/bin/sh\nshift\n${run} "$@"\n`, { mode: 0o755 })
}

/** Runs a block in a prepared folder; `before` stands in front of its code. */
export async function runBlock(folder, { language, code }, before = '') {
  const env = { ...process.env, PATH: `${path.join(folder, 'bin')}:${process.env.PATH}` }
  if (language === 'sh') {
    // Aliases of a page hold for the rest of it, as in the terminal of a reader.
    const script = `set -euo pipefail\nshopt -s expand_aliases\n${before}\n${code}`
    return runProgram('bash', ['-c', script], { cwd: folder, env })
  }
  if (language === 'python') {
    return runProgram('/usr/bin/python3', ['-c', code], { cwd: folder, env })
  }
  // Imports may stand anywhere in a module.
  const file = path.join(folder, 'snippet.mjs')
  writeFileSync(file, `${before}\n${code}`)
  return runProgram(process.execPath, [file], { cwd: folder, env })
}
