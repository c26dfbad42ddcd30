/** Statistics and tables of the benchmark. */

export function statistics(values) {
  if (values.length === 0) return {}
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  return { median, min: sorted[0], max: sorted.at(-1), runs: sorted.length }
}

export function formatSeconds(s) {
  if (s === undefined) return ''
  return s >= 1
    ? `${s.toFixed(2)} s`
    : s >= 1e-3
      ? `${(s * 1e3).toFixed(2)} ms`
      : `${(s * 1e6).toFixed(1)} µs`
}

export function printTable(header, rows) {
  const widths = header.map((name, c) => Math.max(name.length, ...rows.map((row) => row[c].length)))
  for (const row of [header, widths.map((w) => '─'.repeat(w)), ...rows]) {
    process.stdout.write(
      `  ${row
        .map((cell, c) => cell.padEnd(widths[c]))
        .join('  ')
        .trimEnd()}\n`,
    )
  }
}
