/** Numbers and clauses that several findings share. */

import type { Measure } from './report.js'

export function round(value: number, decimals = 2): string {
  const text = value.toFixed(decimals)
  return Number(text) === 0 ? (0).toFixed(decimals) : text
}

export function percent(share: number): string {
  const value = 100 * share
  return `${value > 0 && value < 10 ? round(value, 1) : round(value, 0)}%`
}

export function plural(count: number, one: string): string {
  return count === 1 ? `1 ${one}` : `${count} ${one}s`
}

/**
 * `AUC 0.39 ± 0.03; swapped sides give 0.44 to 0.56 in 99%, over 500 units`, or `total variation 0.31; swapped sides
 * give 0.06, at most 0.09 in 99%, over 500 units`.
 */
export function measured(measure: Measure): string {
  const { scale, size, standardError, chance, chance99, units } = measure
  const over = `over ${plural(units, 'unit')}`
  if (scale === 'auc') {
    return `AUC ${round(size)} ± ${round(standardError!)}; swapped sides give ${round(1 - chance99)} to ${round(chance99)} in 99%, ${over}`
  }
  return `total variation ${round(size)}; swapped sides give ${round(chance)}, at most ${round(chance99)} in 99%, ${over}`
}

/** Meaning of an imbalance for the difference of the covariances. */
export const unlessFeature = (what: string) => `if ${what} is not the feature, it is in ΔC as well`

/** The numbers of a measure for `size`. */
export function sizeOf(measure: Measure): Record<string, number> {
  const { scale, size, standardError, chance, chance99, p, units } = measure
  const numbers = { [scale]: size, chance, chance99, p, units }
  return standardError === undefined ? numbers : { ...numbers, standardError }
}
