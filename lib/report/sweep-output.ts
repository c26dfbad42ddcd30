/** Where a sweep is written: one file, or a folder of all its files with a report. */

import { stat } from 'node:fs/promises'
import path from 'node:path'
import { makeFolder } from '../store/atomic-file.js'
import { checkSweepPath, type SweepResult } from '../sweep/sweep-result.js'
import { checkReportPath, writeReport } from './report.js'

/** Saves what was found and gives the names of the files. */
export type SaveSweep = (found: SweepResult) => Promise<string[]>

/**
 * A file where the path ends as one of a format, otherwise a folder. Errors: ERR_FILE where one of the files is something
 * else; ERR_ARGUMENT for an ending that is no format, unless it is that of a folder.
 */
export async function sweepOutput(out: string): Promise<SaveSweep> {
  if (path.extname(out) === '' || (await isFolder(out))) {
    return outputFolder(out)
  }
  await checkSweepPath(out)
  return async (found) => {
    await found.save(out)
    return [out]
  }
}

const isFolder = async (out: string) => {
  return out.endsWith(path.sep) || ((await stat(out).catch(() => undefined))?.isDirectory() ?? false)
}

async function outputFolder(out: string): Promise<SaveSweep> {
  makeFolder(out)
  const at = (ending: string) => path.join(out, `sweep.${ending}`)
  const saved = [at('json'), at('csv'), at('safetensors')]
  const report = at('html')
  for (const file of saved) {
    await checkSweepPath(file)
  }
  await checkReportPath(report)
  return async (found) => {
    for (const file of saved) {
      await found.save(file)
    }
    await writeReport(report, { results: [{ name: 'sweep', value: found.result }] })
    return [...saved, report]
  }
}
