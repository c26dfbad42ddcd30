/** The report as files: one JSON document of everything, and one CSV a table. */

import { rm } from 'node:fs/promises'
import path from 'node:path'
import { makeFolder, writeFileAtomically } from '../store/atomic-file.js'
import { checkJsonPath, type JsonKind, writeJsonFile } from '../store/json-file.js'
import type { Cell, PaperTable } from './figure.js'
import type { PaperReport } from './index.js'

/** Tables by figure, so that those of an earlier run with other figures are known as ours. */
const TABLES: Record<string, readonly string[]> = {
  2: ['ranks', 'spectrum'],
  3: ['clusters', 'points'],
  4: ['effects', 'swaps'],
  5: ['blocks', 'interaction'],
  '6-7': ['categories', 'separation', 'cosines', 'points', 'effects', 'swaps'],
  '8-9': ['heads', 'subspaces', 'cosines', 'places', 'points', 'effects', 'swaps'],
  10: ['explained', 'candidates', 'scores'],
}

const tableFile = (figure: string, table: string): string => `figure-${figure}-${table}.csv`

const PAPER_FILE: JsonKind = { name: 'a paper document', first: 'paper', fields: ['"figures": ['] }

const document = (folder: string) => path.join(folder, 'paper.json')

/** Makes the folder, and checks that the report can be written, before long work starts. Errors: ERR_FILE. */
export async function preparePaperFolder(folder: string): Promise<void> {
  makeFolder(folder)
  await checkJsonPath(document(folder), PAPER_FILE)
}

/**
 * Returns the files' paths, the document first; each appears whole or not at all. Tables that an earlier run left
 * in the folder are removed: they would pass for those of this one. Errors: ERR_FILE.
 */
export async function writePaper(folder: string, report: PaperReport): Promise<string[]> {
  const files = [document(folder)]
  for (const [figure, names] of Object.entries(TABLES)) {
    for (const name of names) {
      await rm(path.join(folder, tableFile(figure, name)), { force: true })
    }
  }
  for (const { figure, tables } of report.figures) {
    for (const table of tables) {
      const file = path.join(folder, tableFile(figure, table.name))
      await writeFileAtomically(file, [Buffer.from(csvText(table))])
      files.push(file)
    }
  }
  // Last, so that a document is never without its tables.
  await writeJsonFile(files[0], report, PAPER_FILE)
  return files
}

/** RFC 4180 with plain line ends; numbers as JavaScript prints them, so that they read back the same; null is empty. */
export function csvText({ columns, rows }: PaperTable): string {
  return [columns, ...rows].map((row) => `${row.map(csvCell).join(',')}\n`).join('')
}

function csvCell(cell: Cell): string {
  const text = cell === null ? '' : String(cell)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
