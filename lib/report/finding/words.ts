/** Formats numbers and names for sentences and figures. */

export { modelName } from '../../store/result-info.js'

/** A number with a true minus sign, and no minus before zero; `n/a` for an unknown one. */
export function number(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || Number.isNaN(value)) {
    return 'n/a'
  }
  const text = Math.abs(value) >= 1e5 ? value.toExponential(2) : value.toFixed(digits)
  return (Number(text) === 0 ? (0).toFixed(digits) : text).replace('-', '−')
}

/** A fraction in percent. */
export const percent = (value: number | null | undefined, digits = 1): string =>
  value === null || value === undefined || Number.isNaN(value) ? 'n/a' : `${number(value * 100, digits)}%`

/** A fraction in percent for a sentence: whole numbers, with one more digit near 0% and 100%. */
export function share(value: number): string {
  const size = Math.abs(value)
  return percent(value, (size > 0 && size < 0.095) || (size >= 0.995 && size < 1) ? 1 : 0)
}

/** A p-value with two significant digits. */
export const pValue = (p: number): string => `${Number(p.toPrecision(2))}`.replace('-', '−')

/** A count with its noun. */
export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${count} ${count === 1 ? one : many}`

/** The last part of a path. */
export const fileName = (path: string): string => path.split(/[\\/]/).at(-1)!

/** The text with its first letter as a capital. */
export const capital = (text: string): string => text[0].toUpperCase() + text.slice(1)
