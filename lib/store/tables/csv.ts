/** Tables as CSV (RFC 4180). */

import type { Table } from './table.js'

/** The table with a header. Numbers have full precision, and missing values are empty. */
export function csvText({ names, cells }: Table): string {
  const lines = [names, ...cells].map((line) => line.map(csvCell).join(','))
  return `${lines.join('\r\n')}\r\n`
}

function csvCell(value: string | number | boolean | null): string {
  const text = `${value ?? ''}`
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
