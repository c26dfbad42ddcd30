/** Files that the buttons of figures save. */

import { readFileSync } from 'node:fs'
import path from 'node:path'
import { csvParseRows } from 'd3'

/** As pages hold numbers: to seven digits that count. */
export const kept = (value) => (typeof value === 'number' ? Number(value.toPrecision(7)) : value)

/** Downloads into a folder. */
export function savedFiles(folder) {
  /** The rows of a small CSV file, as objects; fields of ours hold no line breaks. */
  async function csvOf(page, button) {
    const [head, ...rows] = csvParseRows(readFileSync(await download(page, button), 'utf8'))
    return rows
      .filter((row) => row.length === head.length)
      .map((row) => Object.fromEntries(row.map((value, i) => [head[i], value])))
  }

  async function download(page, button) {
    const [got] = await Promise.all([page.waitForEvent('download'), button.click()])
    const saved = path.join(folder, got.suggestedFilename())
    await got.saveAs(saved)
    return saved
  }

  return { csvOf, download }
}
