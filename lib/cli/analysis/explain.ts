/**
 * `qkspace explain`: which tokens a token attends to in which heads, and how much of this the features contribute.
 */

import path from 'node:path'
import { type Command, Option } from 'commander'
import { QkError } from '../../errors.js'
import { explain } from '../../explanation/explain.js'
import type { ExplanationReport } from '../../explanation/report.js'
import { checkReportPath, writeReport } from '../../report/report.js'
import { checkJsonPath, type JsonKind, writeJsonFile } from '../../store/json-file.js'
import { loadResult, type Result } from '../../store/result.js'
import { examples } from '../common/examples.js'
import { addModelOptions, type ModelOptions, openNamed } from '../common/model-options.js'
import { parseControls, parseNames, parseSeed, parseWhole, parseWholeNumber } from '../common/options.js'
import { printJson, printLine, printWarnings, progressBar } from '../common/output.js'
import {
  addPromptOptions,
  checkPromptFor,
  type PromptOptions,
  parseMoreHeads,
  promptsOf,
} from '../common/prompt-options.js'
import { asUsage } from '../common/usage.js'
import { printExplanation } from './explanation-text.js'

interface Options extends ModelOptions, PromptOptions {
  model: string
  result?: string
  head: string
  features?: string[]
  query?: number
  examples: number
  nulls: number
  randoms: number
  seed: number
  batchSize: number
  out?: string
  json?: boolean
}

export function registerExplain(program: Command): void {
  const command = program
    .command('explain')
    .description('say why a token attends where it does: heads, features, and what exchanging them does')
  addPromptOptions(addModelOptions(command))
    .option('--result <file>', 'result of `decompose` or `sweep`, .safetensors: the features')
    .addOption(
      new Option('--head <heads>', 'names as in L3H0, with commas or given several times')
        .argParser(parseMoreHeads)
        .default('all'),
    )
    .option('--features <names>', 'contrasts of the result; all by default', parseNames)
    .option(
      '--query <n>',
      'position that is explained, negative from the end (default: that of the first term, or the last one)',
      parseWholeNumber,
    )
    .option('--examples <n>', 'prompts of a set that are explained', parseWhole(1), 4)
    .option('--nulls <n>', 'null subspaces a feature, as a control', parseControls, 20)
    .option('--randoms <n>', 'random subspaces that are exchanged, as a control', parseControls, 5)
    .option('--seed <n>', 'seed of random subspaces', parseSeed, 0)
    .option('--batch-size <n>', 'edits that go through the model together', parseWhole(1), 16)
    .option('--out <file>', 'write the document that --json prints (.json), or a page that shows it (.html)')
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      examples(
        'qkspace explain --model model.onnx --prompt "The pear is in Box O, the hat is in Box A. Which box is the hat in? Box"',
        'qkspace explain --model model.onnx --prompts held-out.jsonl --result boxes.safetensors --head L3H0 --out why.html',
      ),
    )
    .action(run)
}

async function run(options: Options): Promise<void> {
  const { out, json, head, features, query, examples: count, nulls, randoms, seed, batchSize } = options
  const prompts = await promptsOf(options)
  if (features && options.result === undefined) {
    throw new QkError('ERR_USAGE', '--features are contrasts of a result', { hint: 'Give it as --result.' })
  }
  if (out !== undefined) {
    await asUsage(writerOf(out).check(out))
  }
  const result = options.result === undefined ? undefined : await loadResult(options.result)
  const model = await openNamed(options.model, options)
  checkPromptFor(model, options)
  const bar = progressBar('parts of 100')
  const report = await explain(model, prompts, {
    ...(result && { result }),
    ...(features && { features }),
    ...(query !== undefined && { query }),
    heads: head,
    examples: count,
    nulls,
    randoms,
    seed,
    batchSize,
    onProgress: ({ fraction }) => bar.update(Math.round(100 * fraction), 100),
  }).finally(() => bar.stop())
  printWarnings(report.warnings)
  const names = { result: path.basename(options.result ?? ''), prompts: promptName(options) }
  if (out !== undefined) {
    await writerOf(out).write(out, { report, names, ...(result && { result }) })
  }
  if (json) {
    printJson(report)
    return
  }
  printExplanation(report, { result: result !== undefined, prompts: options.prompts })
  if (out !== undefined) {
    printLine(`\nsaved ${out}`)
  }
}

/** Source of the prompts, as shown on the page. */
const promptName = ({ prompts }: PromptOptions) =>
  prompts === undefined ? 'the given prompt' : prompts === '-' ? 'standard input' : path.basename(prompts)

/** The output: the document alone, or a page that shows it beside the result. */
interface Explained {
  report: ExplanationReport
  result?: Result
  /** Names of the files, for the page. */
  names: { result: string; prompts: string }
}

const EXPLANATION_FILE: JsonKind = { name: 'an explanation', first: 'model', fields: ['"prompts": ['] }

/** Writers of an explanation, by the ending of the file name. */
const WRITERS: Record<
  string,
  { check: (file: string) => Promise<void>; write: (file: string, explained: Explained) => Promise<unknown> }
> = {
  '.json': {
    check: (file) => checkJsonPath(file, EXPLANATION_FILE),
    write: (file, { report }) => writeJsonFile(file, report, EXPLANATION_FILE),
  },
  '.html': {
    check: checkReportPath,
    write: (file, { report, result, names }) =>
      writeReport(file, {
        ...(result && { results: [{ name: names.result, value: result }] }),
        explanations: [{ name: names.prompts, value: report }],
      }),
  },
}

/** The writer for a file. Errors: ERR_USAGE for an ending that is no format. */
function writerOf(file: string) {
  const found = WRITERS[path.extname(file).toLowerCase()]
  if (found) {
    return found
  }
  throw new QkError('ERR_USAGE', `${file} has no ending that an explanation is saved by`, {
    hint: `Endings: ${Object.keys(WRITERS).join(', ')}.`,
  })
}
