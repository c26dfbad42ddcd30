/** Runs one subject in a fresh process and reads the one line of JSON that it prints. */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const here = (name) => fileURLToPath(new URL(name, import.meta.url))

const python = ['/usr/bin/python3', 'python3'].find(
  (exe) => spawnSync(exe, ['-c', 'import numpy'], { stdio: 'ignore' }).status === 0,
)

/** Subjects whose names start so are Python programs. */
const PYTHON = /^(numpy|torch)/

export function measure(name, subject, folder, quick) {
  const isPython = PYTHON.test(subject)
  if (isPython && !python) {
    return { missing: 'no Python with numpy' }
  }
  const args = [name, subject, folder ?? '', quick ? 'quick' : 'full']
  const threads = /-(\d)$/.exec(subject)?.[1]
  const { status, stdout, stderr, error } = isPython
    ? spawnSync(python, [here('peers/peers.py'), ...args], {
        encoding: 'utf8',
        maxBuffer: 1 << 28,
        env: threads
          ? { ...process.env, OMP_NUM_THREADS: threads, OPENBLAS_NUM_THREADS: threads }
          : process.env,
      })
    : spawnSync(process.execPath, ['--expose-gc', here('subject.mjs'), ...args], {
        encoding: 'utf8',
        maxBuffer: 1 << 28,
      })
  const line = stdout?.trim().split('\n').at(-1)
  try {
    return JSON.parse(line)
  } catch {
    const why = error?.message ?? (stderr?.trim().split('\n').at(-1) || `exit status ${status}`)
    return { failed: why.slice(0, 200) }
  }
}
