/** A run whose workers and whose Redis are killed a few times. `scripts/kills/cluster.mjs` does it at full size. */

import path from 'node:path'
import test from 'ava'
import { disturbCluster } from '../../scripts/kills/cluster.mjs'
import { noRedis } from '../helpers/cluster.js'
import { temporaryFolder } from '../helpers/files.js'

const folder = temporaryFolder(test)
const skipped = (title, run) => test.skip(`${title} (${noRedis})`, run)
const withRedis = noRedis ? skipped : test

withRedis('4 kills of workers and 2 restarts of Redis: the result of undisturbed shards', async (t) => {
  t.timeout(300_000)
  const sizes = { shards: 12, workers: 2, kills: 4, restarts: 2, seed: 2 }
  const { wrong, ...happened } = await disturbCluster({ folder: path.join(folder, 'run'), ...sizes })
  t.deepEqual(wrong, [])
  t.like(happened, { killedWorkers: 4, redisRestarts: 2, endedEarly: false })
})
