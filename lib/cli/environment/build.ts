/** `qkspace build`: compiles the native addon from the sources in the package, if no package provides it. */

import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, mkdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import type { Command } from 'commander'
import { root } from '../../backend/addon/places.js'
import type { BackendReport } from '../../backend/select.js'
import { QkError } from '../../errors.js'
import { examples } from '../common/examples.js'
import { parseWhole } from '../common/options.js'
import { printJson, printLine } from '../common/output.js'

interface Options {
  cuda: boolean
  jobs: number
  verbose?: boolean
  json?: boolean
}

const INSTALL_CMAKE =
  'Install CMake 3.18 or later and a C++17 compiler (Debian: apt-get install cmake g++; macOS: brew install cmake, xcode-select --install; Windows: Visual Studio with C++).'

export function registerBuild(program: Command): void {
  program
    .command('build')
    .description('compile the native addon for this machine, where no package brings it')
    .option('--cuda', 'compile the CUDA backend too (needs CUDA 12 or later, takes minutes)', false)
    .option('--jobs <n>', 'files compiled at once', parseWhole(1), availableParallelism())
    .option('--verbose', "print the compiler's output")
    .option('--json', 'print one JSON document')
    .addHelpText('after', examples('npx qkspace build && npx qkspace doctor'))
    .action(build)
}

async function build({ cuda, jobs, verbose, json }: Options): Promise<void> {
  checkPlace()
  const binaries = path.join(root, 'build', 'cmake')
  const output = path.join(root, 'build', 'Release')
  const say = (line: string) => void process.stderr.write(`${line}\n`)

  say('configuring ...')
  await cmake(
    [
      '-S',
      root,
      '-B',
      binaries,
      ...generator(),
      '-DCMAKE_BUILD_TYPE=Release',
      `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${output}`,
      `-DQKSPACE_CUDA=${cuda ? 'ON' : 'OFF'}`,
    ],
    verbose,
  )
  say('compiling ...')
  await cmake(['--build', binaries, '--config', 'Release', '--parallel', String(jobs)], verbose)

  const backends = builtBackends()
  const built = backends.filter(({ name }) => name === 'cpu' || (cuda && name === 'cuda'))
  if (json) {
    printJson({ folder: output, backends: built })
  } else {
    for (const { name, available, reason, description } of built) {
      printLine(`${name}: ${available ? `ready, ${description?.instructionSet}` : reason}`)
    }
    printLine(`in ${output}`)
  }
  if (!built.find(({ name }) => name === 'cpu')?.available) {
    throw new QkError('ERR_ADDON_LOAD', 'the addon was compiled, and does not load')
  }
}

/** Checks for sources, CMake and a writable folder before spending minutes. */
function checkPlace(): void {
  if (!existsSync(path.join(root, 'CMakeLists.txt'))) {
    throw new QkError('ERR_FILE', `the sources of the addon are not in ${root}`, {
      hint: 'Install the package again.',
    })
  }
  if (spawnSync('cmake', ['--version']).error) {
    throw new QkError('ERR_BUILD', 'CMake was not found', { hint: INSTALL_CMAKE })
  }
  try {
    mkdirSync(path.join(root, 'build'), { recursive: true })
    accessSync(path.join(root, 'build'), constants.W_OK)
  } catch (error) {
    throw new QkError('ERR_FILE', `${root} cannot be written to, and the addon is built there`, {
      hint: 'Run this as the owner of that folder, or install the package into a folder of your own.',
      cause: error,
    })
  }
}

/** Ninja if it is installed, since it needs no make; otherwise CMake's default. */
function generator(): string[] {
  return spawnSync('ninja', ['--version']).error ? [] : ['-G', 'Ninja']
}

function cmake(args: readonly string[], verbose = false): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('cmake', args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
        if (verbose) {
          process.stderr.write(text)
        }
      })
    }
    child.on('error', reject)
    child.on('close', (status) => {
      if (status === 0) {
        resolve()
        return
      }
      const last = output.trimEnd().split('\n').slice(-30).join('\n')
      reject(
        new QkError('ERR_BUILD', `CMake failed:\n${verbose ? '' : last}`, {
          hint: `${INSTALL_CMAKE} '--verbose' prints all of its output.`,
        }),
      )
    })
  })
}

/** The backends as found by a new process, since this one may have tried to load the addon before. */
function builtBackends(): BackendReport[] {
  const main = path.join(root, 'dist', 'cli', 'main.js')
  const { stdout, stderr } = spawnSync(process.execPath, [main, 'doctor', '--json'], { encoding: 'utf8' })
  if (!stdout) {
    throw new QkError('ERR_ADDON_LOAD', `the addon was compiled, and does not load: ${stderr}`)
  }
  return JSON.parse(stdout).backends
}
