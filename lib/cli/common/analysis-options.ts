/** Options and steps that all commands that analyse a result on a prompt set share. */

import type { Command } from 'commander'
import type { PromptSet } from '../../contrast/prompt-set.js'
import type { Model } from '../../model/model.js'
import { checkJsonPath, type JsonKind, writeJsonFile } from '../../store/json-file.js'
import { loadResult, type Result } from '../../store/result.js'
import { addModelOptions, type ModelOptions, openNamed } from './model-options.js'
import { parseHeadNames, parseWhole } from './options.js'
import { type Progress, printJson, printLine, printWarnings, progressBar } from './output.js'
import { promptSetOf } from './prompt-options.js'
import { asUsage } from './usage.js'

export interface AnalysisOptions extends ModelOptions {
  model: string
  prompts: string
  result: string
  heads: string
  contrast?: string
  seed: number
  batchSize: number
  out?: string
  json?: boolean
}

export function addAnalysisOptions(command: Command): Command {
  return addModelOptions(command)
    .requiredOption(
      '--prompts <file>',
      'prompt set, JSONL, or - for standard input; best one that the result was not made from',
    )
    .requiredOption('--result <file>', 'result of `decompose`, .safetensors')
    .option('--heads <heads>', 'all of the result, or names as in L0H1,L2H3', parseHeadNames, 'all')
    .option('--contrast <name>', 'the contrast of the prompts whose terms are used; every one by default')
    .option('--seed <n>', 'seed of whatever is drawn, intervals included', parseWhole(0), 0)
    .option('--batch-size <n>', 'prompts that go through the model together', parseWhole(1), 16)
    .option('--out <file>', 'write the document that --json prints to a file')
    .option('--json', 'print one JSON document')
}

/** Opens the files in the options, runs the analysis, and writes or prints its report; `kind` is that of its file. */
export async function runAnalysis<T extends { warnings?: string[] }>(
  options: AnalysisOptions,
  analyse: (model: Model, prompts: PromptSet, result: Result, progress: Progress['update']) => Promise<T>,
  print: (report: T) => void,
  kind: JsonKind,
): Promise<void> {
  if (options.out !== undefined) {
    await asUsage(checkJsonPath(options.out, kind))
  }
  const prompts = await promptSetOf(options.prompts)
  const result = await loadResult(options.result)
  const model = await openNamed(options.model, options)
  const bar = progressBar('prompts')
  const report = await analyse(model, prompts, result, bar.update).finally(() => bar.stop())
  printWarnings(report.warnings)
  if (options.out !== undefined) {
    await writeJsonFile(options.out, report, kind)
  }
  if (options.json) {
    printJson(report)
    return
  }
  print(report)
  if (options.out) {
    printLine(`\nsaved ${options.out}`)
  }
}
