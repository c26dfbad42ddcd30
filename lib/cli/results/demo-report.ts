/**
 * The report of `qkspace demo`: the bundled transformer's subspaces, tested on prompts that were not used to fit them,
 * and the figures of the paper that take a few seconds.
 */

import path from 'node:path'
import { attribute } from '../../attribution/attribute.js'
import { bundledFile, bundledWords } from '../../bundled/files.js'
import { boxesOrder } from '../../contrast/families/boxes.js'
import { explain } from '../../explanation/explain.js'
import { intervene } from '../../intervention/intervene.js'
import { openModel } from '../../model/model.js'
import { runPaper } from '../../paper/index.js'
import { type Finding, openingFinding } from '../../report/finding/finding.js'
import { writeReport } from '../../report/report.js'
import type { Result } from '../../store/result.js'
import { progressBar } from '../common/output.js'

/** Differs from the seeds of the decomposition. */
const SEED = 11
const PROMPTS = 96
/** Number of heads whose scores are split: those with most attention on the answer. */
const HEADS = 4

/** The cube of a toy's keys, swaps in it, and the interaction of its latents. */
const FIGURES = [3, 4, 5]

/** Contrasts other than those of single words. */
const FEATURES = ['order', 'match', 'lexical']
/** Number of prompts whose attention is stored. */
const STORED = 4

/** The page in the folder of the demo. */
export const demoReportFile = (folder: string) => path.join(folder, 'report.html')

/**
 * Writes `report.html` into the folder. Returns its path, and its opening finding. `ranked` lists heads, the best
 * first.
 */
export async function writeDemoReport(
  folder: string,
  result: Result,
  ranked: readonly { head: string }[],
): Promise<{ file: string; finding: Finding }> {
  const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
  const prompts = boxesOrder({ ...bundledWords(), prompts: PROMPTS, seed: SEED })
  const bar = progressBar('report')
  const onProgress = ({ prompts: done, total }: { prompts: number; total: number }) => bar.update(done, total)
  try {
    const attribution = await attribute(model, prompts, {
      result,
      features: FEATURES,
      onProgress,
      heads: ranked
        .slice(0, HEADS)
        .map(({ head }) => head)
        .join(','),
    })
    const interventions = await intervene(model, prompts, {
      // Order and match are contrasts of the same prompts, so both are edited on the terms of one of them.
      result,
      heads: ranked[0].head,
      contrast: 'order',
      randoms: 5,
      onProgress,
      features: ['order', 'match', ['order', 'match']],
    })
    const explanation = await explain(model, prompts, { result, features: FEATURES, examples: STORED })
    const paper = await runPaper({ quick: true, only: FIGURES })
    const file = demoReportFile(folder)
    const name = `${PROMPTS} new prompts`
    await writeReport(file, {
      results: [{ name: 'boxes.safetensors', value: result }],
      attributions: [{ name, value: attribution }],
      interventions: [{ name, value: interventions }],
      explanations: [{ name: `${STORED} of them`, value: explanation }],
      papers: [{ name: `figures ${FIGURES.join(', ')}`, value: paper }],
    })
    return { file, finding: openingFinding(result.info, [{ ...interventions, name }]) }
  } finally {
    bar.stop()
  }
}
