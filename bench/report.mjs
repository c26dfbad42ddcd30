/** Statistics and tables of the benchmark. */

export function statistics(values) {
  if (values.length === 0) {
    return {}
  }
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  return { median, min: sorted[0], max: sorted.at(-1), runs: sorted.length }
}

export function formatSeconds(s) {
  if (s === undefined) {
    return ''
  }
  return s >= 1
    ? `${s.toFixed(2)} s`
    : s >= 1e-3
      ? `${(s * 1e3).toFixed(2)} ms`
      : `${(s * 1e6).toFixed(1)} µs`
}

/**
 * How near a time comes to what bounds it: the operations at the rate of OpenBLAS's sgemm or the bytes at the
 * bandwidth of memory, whichever takes longer. Work in cache, or in narrower numbers, may pass 100%.
 */
export function ofCeiling(work, seconds, ceilings) {
  const rate = (name) => (ceilings[name]?.value ?? Number.POSITIVE_INFINITY) * 1e9
  const arithmetic = (work?.flops ?? 0) / rate('numpy-sgemm')
  const memory = (work?.bytes ?? 0) / rate('numpy-bandwidth')
  const floor = Math.max(arithmetic, memory)
  if (!(floor > 0)) {
    return ''
  }
  return `${((100 * floor) / seconds).toFixed(floor / seconds < 0.1 ? 1 : 0)}% of ${arithmetic > memory ? 'sgemm' : 'memory'}`
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
