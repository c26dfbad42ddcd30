/** Makes the bundled toy models again: `npm run train:toys`. Two minutes; the same machine gives the same files. */

import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const file = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const SEED = 1
const MODELS = [
  { r1: 3, r2: 3, dHead: 16 },
  { r1: 3, r2: 5, dHead: 16 },
  { r1: 5, r2: 5, dHead: 16 },
  { r1: 5, r2: 5, dHead: 8 },
]

for (const task of [1, 2]) {
  for (const { r1, r2, dHead } of MODELS) {
    const out = file(`lib/bundled/toys/toy-task${task}-r${r1}-r${r2}-d${dHead}.onnx`)
    const flags = { task, r1, r2, 'd-head': dHead, seed: SEED, out }
    const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, `${value}`])
    execFileSync(process.execPath, [file('dist/cli/main.js'), 'toy', 'train', ...args], {
      stdio: 'inherit',
    })
  }
}
