/** Finds the library of the CUDA backend, which the addon loads on request. */

import { existsSync } from 'node:fs'
import { QkError } from '../../errors.js'
import {
  builtFile,
  CUDA_PLATFORMS,
  isCheckout,
  isPublished,
  packagedFile,
  platform,
  version,
} from './places.js'

/**
 * Path of the library: the file named by QKSPACE_CUDA_LIBRARY, else the local build, else the package for CUDA.
 * Errors: ERR_BACKEND, with every attempt, if there is none.
 */
export function cudaLibrary(): string {
  const named = process.env.QKSPACE_CUDA_LIBRARY
  if (named) {
    if (existsSync(named)) {
      return named
    }
    throw new QkError('ERR_BACKEND', `the CUDA backend is not there: there is no ${named}`, {
      hint: 'QKSPACE_CUDA_LIBRARY names the file.',
    })
  }
  const file = `qkspace_cuda.${process.platform === 'win32' ? 'dll' : 'so'}`
  const built = builtFile(file)
  if (existsSync(built)) {
    return built
  }
  const name = `@qkspace/${platform}-cuda`
  const packaged = packagedFile(name, file)
  if ('file' in packaged) {
    return packaged.file
  }
  throw new QkError(
    'ERR_BACKEND',
    `the CUDA backend is not there; tried:\n  ${built}: not built\n  the package ${name}: ${packaged.reason}`,
    { hint: fixFor(name) },
  )
}

function fixFor(name: string): string {
  if (isCheckout) {
    return "Install CUDA 12 or later, so that nvcc is found, remove the folder 'build', and run 'npm run build'."
  }
  const build = "install CUDA 12 or later, so that nvcc is found, and run 'npx qkspace build --cuda'."
  return isPublished(CUDA_PLATFORMS)
    ? `Run 'npm install ${name}@${version}', or ${build}`
    : `No package with it is published for ${platform}: ${build}`
}
