import capture from './capture.mjs'
import category from './category.mjs'
import eventLoop from './event-loop.mjs'
import flips from './flips.mjs'
import labels from './labels.mjs'
import memory from './memory.mjs'
import pairs from './pairs.mjs'
import report from './report.mjs'
import start from './start.mjs'
import svd from './svd.mjs'
import sweep from './sweep.mjs'

export const cases = {
  pairs,
  category,
  labels,
  svd,
  flips,
  capture,
  sweep,
  'event-loop': eventLoop,
  memory,
  report,
  start,
}
