/** Findings about what the labels of sequences depend on, as sentences. */

import { counted } from '../../validate.js'
import { exceeds } from './measure.js'
import { type Finding, MINIMAL } from './report.js'
import { measured, percent, round, sizeOf, unlessFeature } from './sentences.js'
import { LABEL_STRIDE } from './term-differences.js'
import type { Measured } from './term-findings.js'
import { meanOf, type UnitDifferences, vectorsOf } from './units/differences.js'

export function labelFindings(from: Measured): Finding[] {
  return [
    ...frequencyFindings(from),
    ...driftFindings(from),
    ...repetitionFindings(from),
    ...lengthFindings(from),
    ...queryFindings(from),
  ]
}

/**
 * Class frequencies are exact counts of the set. Chance is that of independent labels with equal class probabilities.
 */
function frequencyFindings({ sums }: Measured): Finding[] {
  const counts = sums.classCounts
  const classes = counts.length
  const total = counts.reduce((a, b) => a + b, 0)
  if (classes < 2) {
    const message = `There ${classes === 1 ? 'is one class' : 'are no labels'}: no query has positive and negative keys.`
    return [{ kind: 'class frequency', level: 'warning', message, size: { classes } }]
  }
  const distance = counts.reduce((sum, n) => sum + Math.abs(n / total - 1 / classes), 0) / 2
  const deviation = Math.sqrt((1 / classes) * (1 - 1 / classes) * (2 / Math.PI / total))
  const chance = Math.min(1, (classes * deviation) / 2)
  if (distance - chance < MINIMAL.classFrequency) {
    return []
  }
  const most = counts.reduce((best, n, i) => (n > counts[best] ? i : best), 0)
  const share = counts[most] / total
  const message = `Classes differ in frequency: ${JSON.stringify(sums.classes.name(most))} has ${percent(share)} of ${counted(total, 'label')}, of ${classes} classes (total variation ${round(distance)} from equal classes, ${round(chance)} by chance). Frequent classes weigh more in ΔC.`
  return [
    {
      kind: 'class frequency',
      level: 'note',
      message,
      size: { totalVariation: distance, chance, share, classes, labels: total },
    },
  ]
}

function driftFindings({ measures, level, units, sums }: Measured): Finding[] {
  const drift = measures.get('label drift')
  if (!exceeds(drift, level)) {
    return []
  }
  const { label, place, all } = furthest(units)
  const message = `Labels depend on the position: ${JSON.stringify(sums.classes.name(label))} lies at ${percent(place)} of the sequence on average, all labels at ${percent(all)} (${measured(drift)}): ${unlessFeature('position')}.`
  return [{ kind: 'label drift', level: 'warning', message, size: { ...sizeOf(drift), place, all } }]
}

/** The class whose positions differ most from those of all labels, weighted by its frequency. */
function furthest(units: readonly UnitDifferences[]): { label: number; place: number; all: number } {
  const places = new Map<number, { sum: number; count: number }>()
  let sum = 0
  let count = 0
  const at = (label: number) => {
    const known = places.get(label) ?? { sum: 0, count: 0 }
    places.set(label, known)
    return known
  }
  for (const { entries } of vectorsOf(units, 'label place')) {
    for (const [feature, value] of entries) {
      if (feature >= LABEL_STRIDE) {
        at(feature - LABEL_STRIDE).count += value
        count += value
      } else {
        at(feature).sum += value
        sum += value
      }
    }
  }
  const all = sum / count
  const pull = (place: { sum: number; count: number }) => Math.abs(place.sum - all * place.count)
  const [label, most] = [...places].reduce((a, b) => (pull(b[1]) > pull(a[1]) ? b : a))
  return { label, place: most.sum / most.count, all }
}

function repetitionFindings({ measures, level, units }: Measured): Finding[] {
  const repetition = measures.get('label repetition')
  if (!exceeds(repetition, level)) {
    return []
  }
  const { size, standardError } = repetition
  const expected = meanOf(vectorsOf(units, 'label repetition expected')).mean
  const [verb, keys] =
    size > 0
      ? ['stick', 'positives are closer to the query']
      : ['alternate', 'positives are farther from the query']
  const message = `Labels ${verb}: ${percent(expected + size)} ± ${percent(standardError!)} of neighbours have the same label, ${percent(expected)} when each sequence's labels are shuffled, over ${counted(repetition.units, 'unit')}. Then ${keys}: ${unlessFeature('distance')}.`
  return [
    {
      kind: 'label repetition',
      level: 'warning',
      message,
      size: { ...sizeOf(repetition), observed: expected + size, expected },
    },
  ]
}

/** Numbers of sequences are exact counts of the set, not estimates. */
function lengthFindings({ sums }: Measured): Finding[] {
  const counts = [...sums.sequenceLengths.values()]
  const alone = counts.filter((n) => n === 1).length
  const sequences = sums.prompts
  const largest = counts.reduce((a, b) => Math.max(a, b), 0)
  const size = { sequences, lengths: counts.length, alone, largest }
  if (alone === 0) {
    return []
  }
  const message = `${alone} of ${sequences} label sequences have a length that no other has (${counts.length} lengths; the most frequent one has ${counted(largest, 'sequence')}). The rank test permutes label sequences of equal length, longer ones cut into blocks: bring them to few lengths.`
  const level = alone / sequences >= MINIMAL.aloneInLength ? 'warning' : 'note'
  return [{ kind: 'sequence lengths', level, message, size }]
}

function queryFindings({ sums }: Measured): Finding[] {
  const { complete, withoutPositive, withoutNegative } = sums.queries
  const all = complete + withoutPositive + withoutNegative
  const skipped = withoutPositive + withoutNegative
  if (skipped === 0) {
    return []
  }
  const message = `${skipped} of ${all} labelled queries are skipped: ${withoutPositive} have no positive key, ${withoutNegative} no negative one.`
  const level = skipped / all >= MINIMAL.skippedQueries ? 'warning' : 'note'
  return [{ kind: 'skipped queries', level, message, size: { complete, withoutPositive, withoutNegative } }]
}
