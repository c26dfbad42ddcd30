/** What has to hold of packed packages before they are published; each problem as a sentence. */

import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { root, run } from './compile.mjs'
import { GLIBC_FLOOR } from './platforms.mjs'

/** Unpacked bytes of the package itself; with the addon it stays below 12 MB. */
const MOST_BYTES_MAIN = 10e6

/** publint's findings on a staged folder, suggestions included. */
async function lint(folder, { name }) {
  const { messages, pkg } = await publint({ pkgDir: folder, level: 'suggestion', strict: true })
  return messages.map((message) => `publint: ${name}: ${formatMessage(message, pkg)}`)
}

/** What "are the types wrong" finds for users of ES modules. */
function checkTypes({ name, archive }) {
  const attw = path.join(root, 'node_modules', '@arethetypeswrong', 'cli', 'dist', 'index.js')
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [attw, archive, '--profile', 'esm-only', '--format', 'ascii', '--no-color'],
    { encoding: 'utf8' },
  )
  return status === 0 ? [] : [`attw: ${name}:\n${stdout}${stderr}`]
}

/** The newest version of each library that a shared library asks for, such as { GLIBC: '2.25' }. */
export function symbolVersions(library, tools = '') {
  const newest = {}
  const symbols = run(`${tools}objdump`, ['-T', library])
  for (const [, name, version] of symbols.matchAll(/\*UND\*.*\((GLIBC|GLIBCXX|CXXABI|GCC)_([\d.]+)\)/g)) {
    if (newest[name] === undefined || compareVersions(version, newest[name]) > 0) {
      newest[name] = version
    }
  }
  return newest
}

export function compareVersions(a, b) {
  return a.localeCompare(b, 'en', { numeric: true })
}

function checkSymbols(library, { name, tools }) {
  const { GLIBC, GLIBCXX, CXXABI } = symbolVersions(library, tools)
  const problems = []
  if (GLIBC === undefined) {
    problems.push(`${name}: no symbol of glibc was found`)
  } else if (compareVersions(GLIBC, GLIBC_FLOOR) > 0) {
    problems.push(`${name} asks for glibc ${GLIBC}, above ${GLIBC_FLOOR}`)
  }
  if (GLIBCXX ?? CXXABI) {
    problems.push(`${name} asks for the system's C++ library (${GLIBCXX ?? CXXABI})`)
  }
  return problems
}

export async function checkMain(folder, packed) {
  const problems = [...(await lint(folder, packed)), ...checkTypes(packed)]
  if (packed.unpackedBytes > MOST_BYTES_MAIN) {
    problems.push(`${packed.name} holds ${packed.unpackedBytes} bytes, more than ${MOST_BYTES_MAIN}`)
  }
  return problems
}

export async function checkPlatform(folder, packed, platform) {
  const problems = [
    ...(await lint(folder, packed)),
    ...checkSymbols(path.join(folder, platform.file), platform),
  ]
  const expected = ['LICENSE', 'README.md', 'package.json', platform.file]
  if (packed.files.sort().join() !== expected.sort().join()) {
    problems.push(`${packed.name} holds ${packed.files.join(', ')}; expected ${expected.join(', ')}`)
  }
  if (packed.bytes > platform.mostBytes) {
    problems.push(`${packed.name} has ${packed.bytes} bytes, more than ${platform.mostBytes}`)
  }
  return problems
}
