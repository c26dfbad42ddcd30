/**
 * Draws the pictures of rank.md, and writes calibration.md, out of the results of `npm run calibrate`.
 *
 *   node scripts/docs/rank/pictures.mjs
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { FULL } from '../../calibrate/cells.mjs'
import { energyPicture } from './energy.mjs'
import { falsePositivePicture } from './false-positives.mjs'
import { powerPicture } from './power.mjs'
import { quantilePicture } from './quantiles.mjs'
import { calibrationPage } from './tables.mjs'

const at = (name) => fileURLToPath(new URL(`../../../${name}`, import.meta.url))
const { cells, machines } = JSON.parse(readFileSync(at('bench/results/calibration.json'), 'utf8'))
const done = FULL.filter(({ id }) => cells[id]).map((cell) => ({ cell, result: cells[cell.id].result }))
const group = (name) => done.filter(({ cell }) => cell.group === name)

for (const [name, svg] of [
  ['false-positives', falsePositivePicture(group('false positives'))],
  ['quantiles', quantilePicture(group('false positives'))],
  ['power', powerPicture(group('power'))],
  ['energy', energyPicture(group('rank of noise'))],
]) {
  writeFileSync(at(`docs/rank-${name}.svg`), svg)
}
const seconds = done.reduce((sum, { cell }) => sum + cells[cell.id].seconds, 0)
writeFileSync(at('docs/calibration.md'), calibrationPage(done, machines, seconds))
