/** Output of commands: one JSON document, or tables for people, and progress on a terminal's standard error. */

import cliProgress from 'cli-progress'
import { jsonText } from '../../store/json-file.js'

export function printJson(value: unknown): void {
  process.stdout.write(`${jsonText(value)}\n`)
}

export function printLine(text = ''): void {
  process.stdout.write(`${text}\n`)
}

/** Prints a choice that the user did not make, on standard error. */
export function printNote(note: string): void {
  process.stderr.write(`qkspace: ${note}\n`)
}

const warned = new Set<string>()

/** Prints warnings on standard error, each only once. */
export function printWarnings(warnings: readonly string[] = []): void {
  for (const warning of warnings) {
    if (!warned.has(warning)) {
      process.stderr.write(`qkspace: warning: ${warning}\n`)
    }
    warned.add(warning)
  }
}

/** Columns padded to their widest cell; columns of numbers are aligned on the right. */
export function printTable(header: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = header.map((name, c) => Math.max(name.length, ...rows.map((row) => row[c].length)))
  const numeric = header.map((_, c) => rows.length > 0 && rows.every((row) => /^[-+\d.e]*$/.test(row[c])))
  const line = (cells: readonly string[]) =>
    cells.map((cell, c) => (numeric[c] ? cell.padStart(widths[c]) : cell.padEnd(widths[c]))).join('  ')
  printLine(line(header).trimEnd())
  printLine(widths.map((w) => '─'.repeat(w)).join('  '))
  for (const row of rows) {
    printLine(line(row).trimEnd())
  }
}

/** Fixed decimals, without a minus before zero. */
export function fixed(value: number, decimals: number): string {
  const text = value.toFixed(decimals)
  return Number(text) === 0 ? (0).toFixed(decimals) : text
}

/** A mean with its interval. */
export function estimate({ mean, low, high }: { mean: number; low: number; high: number }): string {
  const range = Number.isNaN(low) ? '' : ` [${fixed(low, 3)}, ${fixed(high, 3)}]`
  return `${fixed(mean, 3)}${range}`
}

export interface Progress {
  update(done: number, total: number): void
  stop(): void
}

/** A progress bar if standard error is a terminal; nothing otherwise. */
export function progressBar(what: string): Progress {
  if (!process.stderr.isTTY) {
    return { update: () => {}, stop: () => {} }
  }
  const bar = new cliProgress.SingleBar(
    {
      format: `${what} {bar} {value}/{total} {eta_formatted}`,
      stream: process.stderr,
      clearOnComplete: true,
      // The library's signal handlers would keep the process from ending. Without them, the cursor must not be
      // hidden.
      gracefulExit: false,
    },
    cliProgress.Presets.shades_classic,
  )
  let started = false
  return {
    update: (done, total) => {
      if (!started) {
        bar.start(total, done)
      }
      // The total grows during a download: the files with weights are known only after the graph has arrived.
      if (bar.getTotal() !== total) {
        bar.setTotal(total)
      }
      bar.update(done)
      started = true
    },
    stop: () => {
      if (started) {
        bar.stop()
      }
    },
  }
}
