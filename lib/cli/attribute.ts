/** `qkspace attribute`: the scores of heads, split over the subspaces of a result. */

import type { Command } from 'commander'
import { type AttributionReport, attribute } from '../analysis/attribute.js'
import type { AttributionSides } from '../analysis/attribute-arrays.js'
import type { SplitMethod } from '../analysis/split.js'
import { readPrompts } from '../contrast/prompt-set.js'
import { openModel } from '../model/model.js'
import { checkJsonPath, writeJsonFile } from '../store/json-file.js'
import { loadResult } from '../store/result.js'
import { parseChoice, parseHeadNames, parseNames, parseWhole } from './options.js'
import { estimate, fixed, printJson, printLine, printTable, progressBar } from './output.js'

interface Options {
  model: string
  tokenizer?: string
  prompts: string
  result: string
  heads: string
  features?: string[]
  contrast?: string
  method: SplitMethod
  sides: AttributionSides
  centered?: boolean
  examples: number
  seed: number
  batchSize: number
  out?: string
  json?: boolean
}

export function registerAttribute(program: Command): void {
  program
    .command('attribute')
    .description('split attention scores additively over the subspaces of a result')
    .requiredOption('--model <file>', 'ONNX file')
    .option('--tokenizer <file>', 'tokenizer.json, for prompts given as text')
    .requiredOption('--prompts <file>', 'prompt set, JSONL; best one that the result was not made from')
    .requiredOption('--result <file>', 'result of `decompose`, .safetensors')
    .option('--heads <heads>', 'all of the result, or names as in L0H1,L2H3', parseHeadNames, 'all')
    .option('--features <names>', 'contrasts, in this order; all by default', parseNames)
    .option('--contrast <name>', 'the contrast of the prompts whose queries are taken; every one by default')
    .option(
      '--method <name>',
      'residualize, orthogonalize or shapley',
      parseChoice('method', ['residualize', 'orthogonalize', 'shapley'] as const),
      'residualize' as const,
    )
    .option(
      '--sides <name>',
      'query, key or both',
      parseChoice('side', ['query', 'key', 'both'] as const),
      'query' as const,
    )
    .option('--centered', 'subtract the mean of each row, which softmax ignores')
    .option('--examples <n>', 'prompts whose rows are kept in --out and --json', parseWhole(0), 4)
    .option('--seed <n>', 'seed of intervals and of sampled orders', parseWhole(0), 0)
    .option('--batch-size <n>', 'prompts that go through the model together', parseWhole(1), 16)
    .option('--out <file>', 'write the document that --json prints to a file')
    .option('--json', 'print one JSON document')
    .action(run)
}

async function run(options: Options): Promise<void> {
  const { heads, contrast, method, sides, centered, examples, seed, batchSize, features } = options
  if (options.out) await checkJsonPath(options.out)
  const prompts = readPrompts(options.prompts)
  const result = await loadResult(options.result)
  const model = await openModel(options.model, { tokenizer: options.tokenizer })
  const bar = progressBar('prompts')
  const report = await attribute(model, prompts, {
    ...{ result, heads, contrast, method, sides, centered, examples, seed, batchSize },
    ...(features && { features }),
    onProgress: ({ prompts: done, total }) => bar.update(done, total),
  }).finally(() => bar.stop())
  if (options.out) await writeJsonFile(options.out, report)
  if (options.json) printJson(report)
  else printReport(report, options.out)
}

function printReport(
  { rows, features, method, sides, centered, heads }: AttributionReport,
  out?: string,
): void {
  printLine(
    `${rows} rows of scores, ${sides} side${sides === 'both' ? 's' : ''}, ${method}${centered ? ', centred' : ''}; ` +
      'with 95% intervals over prompts',
  )
  printLine()
  printTable(
    ['head', 'explained, of all energy', 'mean of rows', ...features],
    Object.entries(heads)
      .sort(([, a], [, b]) => b.energy.mean - a.energy.mean)
      .map(([head, { energy, mean, share }]) => [
        head,
        estimate(energy),
        estimate(mean),
        ...features.map((name) => fixed(share[name].mean, 3)),
      ]),
  )
  if (out) printLine(`\nsaved ${out}`)
}
