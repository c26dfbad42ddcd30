/**
 * Two tiers: `npm test` runs the files that are not named here, in a few minutes; `npm run test:all` runs everything. A file
 * that is not named is in the fast tier, so that none is forgotten. Names that end with a slash are folders.
 */

import { readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/** What is left to `npm run test:all`; what finds most comes first, since `.ci/run` stops at its limit of time. */
export const SLOW = {
  'whole commands and every example': [
    'test/capture-command.test.js',
    'test/compare.test.js',
    'test/examples.test.js',
    'test/explain-command.test.js',
    'test/help.test.js',
    'test/hub/command.test.js',
    'test/messages.test.js',
    'test/output-files.test.js',
    'test/prompts-check-command.test.js',
    'test/prompts-command.test.js',
    'test/report-documents.test.js',
    'test/snippets.test.js',
  ],
  'many sizes and many draws': [
    'test/accumulate.test.js',
    'test/attribute.test.js',
    'test/calibrate.test.js',
    'test/explanation.test.js',
    'test/families.test.js',
    'test/intervene-controls.test.js',
    'test/paper.test.js',
    'test/prompts-check.test.js',
    'test/rank/labels.test.js',
    'test/reads.test.js',
    'test/report/accessible.test.js',
    'test/sweep/answers.test.js',
    'test/sweep/roles.test.js',
    'test/toy.test.js',
  ],
  'models of many kinds': [
    'test/dialect-models.test.js',
    'test/hub/download.test.js',
    'test/kinds.test.js',
    'test/large-graphs.test.js',
    'test/model-folders.test.js',
    'test/shared-models.test.js',
    'test/zoo.test.js',
  ],
  'instruction sets, and CUDA on the host': [
    'test/backend/conformance-avx512.test.js',
    'test/backend/conformance-baseline.test.js',
    'test/backend/conformance-neon.test.js',
    'test/backend/auto-on-host.test.js',
    'test/backend/boundary-cuda-on-host.test.js',
    'test/backend/conformance-cuda-on-host.test.js',
    'test/backend/conformance-cuda-on-host-mma.test.js',
    'test/cli/commands-on-host.test.js',
    'test/backend/conformance-several-on-host.test.js',
    'test/backend/cuda-indices.test.js',
    'test/backend/cuda-kernels.test.js',
    'test/backend/cuda-launches.test.js',
    'test/backend/cuda-memory.test.js',
    'test/backend/cuda-several.test.js',
    'test/backend/cuda-rows.test.js',
    'test/backend/cuda-streams.test.js',
    'test/cuda-svd.test.js',
  ],
  'checkpoints, shards and schedulers': [
    'test/scale/checkpoint.test.js',
    'test/scale/merge.test.js',
    'test/scale/schedulers.test.js',
  ],
  'fuzzers and kills': ['test/fuzz/fuzz.test.js', 'test/kills.test.js', 'test/cluster/kills.test.js'],
  'runs on a cluster': ['test/cluster/runs.test.js'],
  'packages, compilers and the API reference': ['test/package/', 'test/reference.test.js'],
}

/** The files of the slow tier, in that order. */
export function slowFiles() {
  return Object.values(SLOW).flatMap((names) => names.flatMap(filesOf))
}

function filesOf(name) {
  if (!name.endsWith('/')) {
    return [name]
  }
  return readdirSync(path.join(root, name), { recursive: true })
    .map((file) => path.posix.join(name, file.replaceAll(path.sep, '/')))
    .filter((file) => file.endsWith('.test.js'))
    .sort()
}
