/** Python where it has numpy, or PyTorch too: tests that need it are skipped by name elsewhere. */

import { execFileSync, spawnSync } from 'node:child_process'

const python = '/usr/bin/python3'

const has = (module) => spawnSync(python, ['-c', `import ${module}`], { stdio: 'ignore' }).status === 0

/** `test`, or `test.skip` under a name that says why. */
export function withPython(test, module) {
  if (has(module)) {
    return test
  }
  return (title, ...rest) => test.skip(`${title} (needs Python with ${module})`, ...rest)
}

/** Standard output of a script that runs in a folder. */
export function pythonText(cwd, ...args) {
  return execFileSync(python, args, { cwd, encoding: 'utf8' })
}

/** Standard output of a script as JSON; `script` is a file, or a text with `-c`. */
export function pythonJson(...args) {
  return JSON.parse(execFileSync(python, args, { encoding: 'utf8', maxBuffer: 2 ** 28 }))
}
