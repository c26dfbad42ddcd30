/** Findings on whether a contrast has enough units for the rank test, and whether they are independent. */

import { counted } from '../../validate.js'
import { FEW_UNITS, leastPOfSigns, SYMMETRIC_UNITS } from '../unit-limits.js'
import type { ContrastSums } from './collect.js'
import { DRAWS, type Finding, MINIMAL } from './report.js'
import { percent, plural } from './sentences.js'
import { type Beginning, sharedMaterial } from './shared-material.js'

/** Level of the rank test. */
const ALPHA = 0.05

/** `level` is the level of each measure of the contrast. */
export function unitFindings(
  sums: ContrastSums,
  beginnings: readonly Beginning[],
  level: number,
  seed: number,
): Finding[] {
  return [...countFindings(sums, level), ...materialFindings(sums, beginnings, seed)]
}

function countFindings({ units, rule }: ContrastSums, level: number): Finding[] {
  const smallestP = leastPOfSigns(units)
  const size = { units, smallestP }
  const found: Finding[] = []
  const flips = rule !== 'labels'
  if (flips && smallestP > ALPHA) {
    const message = `${plural(units, 'unit')}: the rank test refuses, since no p-value of its sign flips can be below 2 / 2^${units} = ${Number(smallestP.toPrecision(2))}.`
    found.push({ kind: 'units', level: 'warning', message, size })
  } else if (units < FEW_UNITS) {
    const message = `${plural(units, 'unit')}, fewer than ${FEW_UNITS}: the rank test is not reliable.`
    found.push({ kind: 'units', level: 'warning', message, size })
  } else if (units < SYMMETRIC_UNITS && rule === 'terms') {
    const message = `${counted(units, 'unit')}, fewer than ${SYMMETRIC_UNITS}: the rank test assumes symmetric unit contributions.`
    found.push({ kind: 'units', level: 'warning', message, size })
  }
  if (Math.max(smallestP, 1 / (DRAWS + 1)) > level) {
    const message = `${plural(units, 'unit')} cannot show an imbalance at the level ${Number(level.toPrecision(2))}: the measures of this contrast are listed, and not judged.`
    found.push({ kind: 'units', level: 'note', message, size })
  }
  return found
}

function materialFindings(
  { prompts, groups, template, ungrouped, positionUnits }: ContrastSums,
  beginnings: readonly Beginning[],
  seed: number,
): Finding[] {
  const material = sharedMaterial(beginnings, ungrouped, template?.length ?? 0, seed)
  if (!material || material.excess - material.chance < MINIMAL.sharedMaterial) {
    return []
  }
  const { compared, sharing, excess, chance, where } = material
  const of = compared < ungrouped ? `${compared} sampled prompts` : `${compared} prompts`
  const without = groups.size > 0 ? ' without a group' : ''
  const counted = positionUnits.has('characters') ? 'characters' : 'tokens'
  const message = `${sharing} of ${of}${without} share at least the first half of their ${counted} with another, from ${material.beginnings} beginnings: about ${percent(excess)} of the units are none of their own (${percent(chance)} by chance). Give prompts that share material a common "group".`
  return [
    {
      kind: 'shared material',
      level: 'warning',
      message,
      size: { prompts, compared, sharing, beginnings: material.beginnings, excess, chance },
      where,
    },
  ]
}
