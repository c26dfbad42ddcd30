/** Cold start: from `node` to a loaded package, and to a first result of the native backend. */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const entry = fileURLToPath(new URL('../../dist/index.js', import.meta.url))
const arrays = fileURLToPath(new URL('../../dist/arrays.js', import.meta.url))
const PROGRAMS = {
  'node alone': '0',
  'import qkspace/arrays': `import(${JSON.stringify(arrays)})`,
  'import qkspace': `import(${JSON.stringify(entry)})`,
  'first svd': `import(${JSON.stringify(entry)}).then(({ svd }) => svd(new Float64Array([3, 0, 0, 4]), { n: 1, rows: 2, cols: 2 }))`,
}

export default {
  title: 'start: a fresh process',
  variants: () => [{ label: 'time until the process ends', params: {} }],
  subjects: () => Object.keys(PROGRAMS),
  load: async (subject) => ({
    tolerance: 0,
    verify: () => 0,
    once: () => {
      const { status } = spawnSync(process.execPath, ['-e', PROGRAMS[subject]])
      if (status !== 0) {
        throw new Error(`exit status ${status}`)
      }
    },
  }),
}
