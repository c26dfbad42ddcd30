/** Tables as CSV (RFC 4180). */

import type { Table } from './table.js'

/** With a header; numbers in full, nothing where there is none. */
export function csvText({ names, cells }: Table): string {
  const lines = [names, ...cells].map((line) => line.map(csvCell).join(','))
  return `${lines.join('\r\n')}\r\n`
}

function csvCell(value: string | number | boolean | null): string {
  const text = `${value ?? ''}`
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
