/** Findings about differences between the positive and the negative keys of terms, as sentences. */

import type { PromptTokenizer } from '../../model/tokenizer/tokenizer.js'
import type { ContrastSums } from './collect.js'
import { exceeds } from './measure.js'
import type { ContrastCheck, Finding, Measure, MeasureName } from './report.js'
import { measured, percent, plural, round, sizeOf, unlessFeature } from './sentences.js'
import { meanByFeature, meanOf, type UnitDifferences, vectorsOf } from './units/differences.js'

/** What findings are made from. */
export interface Measured {
  sums: ContrastSums
  units: readonly UnitDifferences[]
  measures: ReadonlyMap<MeasureName, Measure>
  level: number
  positionsIn: ContrastCheck['positionsIn']
  tokenizer: PromptTokenizer | undefined
}

export function termFindings(from: Measured): Finding[] {
  return [
    ...positionFindings(from),
    ...distanceFindings(from),
    ...tokenFindings(from),
    ...lengthFindings(from),
    ...keyCountFindings(from),
    ...sharedKeyFindings(from),
  ]
}

/** Mean difference, positive minus negative, which a measure of order stores under the name `shift`. */
function shiftOf({ units }: Measured, measure: string): number {
  return meanOf(vectorsOf(units, `${measure} shift`)).mean
}

function counted({ positionsIn }: Measured, value: number): string {
  const unit = positionsIn === 'mixed' ? 'positions' : positionsIn
  return `${round(Math.abs(value), 1)} ${unit}`
}

function positionFindings(from: Measured): Finding[] {
  const { measures, level, sums } = from
  const order = measures.get('position')
  const spread = measures.get('position spread')
  const relative = measures.get('relative position')
  const byLabel = measures.get('position by label')
  if (exceeds(order, level)) {
    const shift = shiftOf(from, 'position')
    const share = shiftOf(from, 'relative position')
    const ofLength = Number.isNaN(share) ? '' : `, ${percent(Math.abs(share))} of the length`
    const size = { ...sizeOf(order), shift, relativeShift: share }
    const message = `Positives lie ${counted(from, shift)} ${shift < 0 ? 'before' : 'after'} the negatives on average${ofLength} (${measured(order)}): ${unlessFeature('position')}.`
    return [{ kind: 'position', level: 'warning', message, size }]
  }
  if (exceeds(relative, level)) {
    const shift = shiftOf(from, 'relative position')
    const message = `Positives lie ${percent(Math.abs(shift))} of the length ${shift < 0 ? 'before' : 'after'} the negatives on average (${measured(relative)}): ${unlessFeature('relative position')}.`
    return [
      { kind: 'position', level: 'warning', message, size: { ...sizeOf(relative), relativeShift: shift } },
    ]
  }
  if (exceeds(spread, level)) {
    const over = sums.positionUnits.has('rows') ? 'rows' : 'tenths of the prompt'
    const message = `Positives and negatives are spread differently over the ${over} (${measured(spread)}): ${unlessFeature('position')}.`
    return [{ kind: 'position', level: 'warning', message, size: sizeOf(spread) }]
  }
  if (exceeds(byLabel, level)) {
    const message = `Among terms of one label, positives and negatives differ in position, though not over all terms (${measured(byLabel)}): ${unlessFeature('position')}.`
    return [{ kind: 'position', level: 'note', message, size: sizeOf(byLabel) }]
  }
  return []
}

function distanceFindings(from: Measured): Finding[] {
  const { measures, level, positionsIn } = from
  const order = measures.get('distance')
  const spread = measures.get('distance spread')
  if (exceeds(order, level)) {
    const shift = shiftOf(from, 'distance')
    const axis = positionsIn === 'rows' ? ', where query and key rows are of one axis' : ''
    const message = `Positives lie ${counted(from, shift)} ${shift < 0 ? 'closer to' : 'farther from'} the query than the negatives on average (${measured(order)}): ${unlessFeature('distance')}${axis}.`
    return [{ kind: 'distance', level: 'warning', message, size: { ...sizeOf(order), shift } }]
  }
  if (exceeds(spread, level)) {
    const message = `Distances from the query are spread differently for positives and negatives (${measured(spread)}): ${unlessFeature('distance')}.`
    return [{ kind: 'distance', level: 'warning', message, size: sizeOf(spread) }]
  }
  return []
}

function tokenFindings(from: Measured): Finding[] {
  const { measures, level, sums, tokenizer } = from
  const found: Finding[] = []
  const words = [...sums.positionUnits].every((unit) => unit === 'tokens') ? 'tokens' : 'words'
  const named = (measure: string) => {
    const means = meanByFeature(vectorsOf(from.units, measure))
    const side = (sign: number) =>
      means
        .filter(([, mean]) => Math.sign(mean) === sign)
        .slice(0, 3)
        .map(([token, mean]) => {
          const text = nameOf(sums.names.tokens.name(token), tokenizer)
          return `${text} ${mean > 0 ? '+' : '−'}${percent(Math.abs(mean))}`
        })
    return [...side(1), ...side(-1)].join(', ')
  }
  const keys = measures.get('token')
  const byLabel = measures.get('token by label')
  if (exceeds(keys, level)) {
    const message = `Positives and negatives are different ${words} (${measured(keys)}; ${named('token')}): ${unlessFeature('the token')}.`
    found.push({ kind: 'token', level: 'warning', message, size: sizeOf(keys) })
  } else if (exceeds(byLabel, level)) {
    const message = `Among terms of one label, positives and negatives are different ${words}, though not over all terms (${measured(byLabel)}): ${unlessFeature('the token')}.`
    found.push({ kind: 'token', level: 'note', message, size: sizeOf(byLabel) })
  }
  const queries = measures.get('query token')
  if (exceeds(queries, level)) {
    const message = `Queries of the prompts and of their counterfactuals are different ${words} (${measured(queries)}; ${named('query token')}): ${unlessFeature("the query's token")}.`
    found.push({ kind: 'token', level: 'warning', message, size: sizeOf(queries) })
  }
  return found
}

function nameOf(token: number | string, tokenizer: PromptTokenizer | undefined): string {
  if (typeof token === 'string') {
    return JSON.stringify(token)
  }
  return tokenizer ? JSON.stringify(tokenizer.token(token)) : `#${token}`
}

function lengthFindings(from: Measured): Finding[] {
  const { measures, level } = from
  const length = measures.get('length')
  if (!exceeds(length, level)) {
    return []
  }
  const shift = shiftOf(from, 'length')
  const message = `Prompts are ${counted(from, shift)} ${shift < 0 ? 'shorter' : 'longer'} than their counterfactuals on average (${measured(length)}): ${unlessFeature('length')}.`
  return [{ kind: 'length', level: 'warning', message, size: { ...sizeOf(length), shift } }]
}

/** Numbers of keys are exact counts of the set, not estimates. */
function keyCountFindings({ sums }: Measured): Finding[] {
  const { positiveKeys, negativeKeys } = sums.keyRows
  const placed = sums.terms - sums.unplacedTerms
  if (positiveKeys === negativeKeys || placed === 0) {
    return []
  }
  const [positive, negative] = [positiveKeys / placed, negativeKeys / placed]
  const message = `A term has ${round(positive, 1)} positive and ${round(negative, 1)} negative keys on average. The estimator per-query is not affected; sum and per-pair let a mean key into ΔC.`
  return [{ kind: 'length', level: 'note', message, size: { positive, negative } }]
}

function sharedKeyFindings({ sums }: Measured): Finding[] {
  const { rows, shared, bothSides, contradictory } = sums.keyRows
  const found: Finding[] = []
  if (shared > 0) {
    const message = `${shared} of ${rows} key rows are used by several terms of their prompt, ${bothSides} of them as positive and as negative keys. exchangeable: true is refused, since it needs rows that no two terms share.`
    found.push({ kind: 'shared keys', level: 'note', message, size: { rows, shared, bothSides } })
  }
  if (contradictory > 0) {
    const message = `${plural(contradictory, 'term')} of ${sums.terms} have a key row that is positive and negative at once: it cancels itself.`
    found.push({
      kind: 'shared keys',
      level: 'warning',
      message,
      size: { contradictory, terms: sums.terms },
    })
  }
  return found
}
