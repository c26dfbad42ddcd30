/** Compiles what the packages a platform hold. */

import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../', import.meta.url))
const at = (...parts) => path.join(root, ...parts)

/** Runs a command and gives its output; throws with everything that it printed if it fails. */
export function run(command, args, options = {}) {
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    ...options,
  })
  if (status !== 0) {
    throw new Error(
      `${command} ${args.join(' ')} failed:\n${error?.message ?? ''}${stdout ?? ''}${stderr ?? ''}`,
    )
  }
  return stdout
}

/**
 * Whether the tools for a platform are here; the reason where they are not.
 * @param {{ tools: string, cuda?: boolean }} platform
 */
export function missingTool({ tools, cuda }) {
  const needed = [`${tools}g++`, `${tools}strip`, `${tools}objdump`, ...(cuda ? ['nvcc'] : [])]
  const absent = needed.filter((tool) => spawnSync(tool, ['--version']).error)
  return absent.length > 0 ? `${absent.join(', ')} is not installed` : undefined
}

/**
 * The stripped library of a platform, in `folder`. The checkout's own build serves for x64; CUDA is compiled for
 * `architectures`, or taken from the checkout's build ('checkout').
 */
export function compile(platform, folder, { architectures = 'all' } = {}) {
  mkdirSync(folder, { recursive: true })
  const library = path.join(folder, platform.file)
  copyFileSync(path.join(buildOf(platform, architectures), platform.file), library)
  run(`${platform.tools}strip`, ['--strip-unneeded', library])
  return library
}

function buildOf({ name, file, tools, processor, cuda }, architectures) {
  const own = at('build', 'Release')
  if (!processor && (!cuda || architectures === 'checkout')) {
    if (!existsSync(path.join(own, file))) {
      throw new Error(`${path.join('build', 'Release', file)} is not there: npm run build`)
    }
    return own
  }
  const built = at('build', 'packages', 'compile', name)
  const cross = processor && [
    '-DCMAKE_SYSTEM_NAME=Linux',
    `-DCMAKE_SYSTEM_PROCESSOR=${processor}`,
    `-DCMAKE_CXX_COMPILER=${tools}g++`,
  ]
  const flags = cross ?? [`-DQKSPACE_CUDA_ARCHITECTURES=${architectures}`]
  run('cmake', ['-S', root, '-B', built, `-DQKSPACE_CUDA=${cuda ? 'ON' : 'OFF'}`, ...flags])
  run('cmake', ['--build', built, '--parallel', '2'])
  return built
}
