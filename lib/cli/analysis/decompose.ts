/** `qkspace decompose`: from a model and a prompt set to saved subspaces. */

import { type Command, Option } from 'commander'
import type { Estimator } from '../../backend/backend.js'
import type { BackendChoice } from '../../backend/select.js'
import { readPrompts } from '../../contrast/prompt-set.js'
import { accumulate, disposeSums } from '../../covariance/accumulate.js'
import { QkError } from '../../errors.js'
import { openModel } from '../../model/model.js'
import { decompose } from '../../spectrum/decompose.js'
import type { RankRule } from '../../store/result.js'
import { checkResultPath, type Result } from '../../store/result.js'
import {
  AXIS_SIZE,
  parseBackend,
  parseEstimator,
  parseHeadNames,
  parseRank,
  parseWhole,
} from '../common/options.js'
import { fixed, printJson, printLine, printTable, printWarnings, progressBar } from '../common/output.js'

interface Options {
  model: string
  tokenizer?: string
  size?: Record<string, number>
  prompts: string
  heads: string
  estimator: Estimator
  center?: boolean
  rank: RankRule
  backend: BackendChoice
  seed: number
  batchSize: number
  covariances?: boolean
  spectrum: boolean
  out: string
  json?: boolean
}

export function registerDecompose(program: Command): void {
  program
    .command('decompose')
    .description('find the query-key subspaces of named contrasts')
    .requiredOption('--model <file>', 'ONNX file')
    .option('--tokenizer <file>', 'tokenizer.json, for prompts given as text')
    .option(...AXIS_SIZE)
    .requiredOption('--prompts <file>', 'prompt set, JSONL')
    .option('--heads <heads>', 'all, or names as in L0H1,L2H3', parseHeadNames, 'all')
    .option('--estimator <name>', 'per-query, per-pair or sum', parseEstimator, 'per-query' as const)
    .option('--center', 'subtract the product of the mean query and the mean key')
    .addOption(
      new Option('--rank <rule>', 'energy:0.99 or fixed:8')
        .argParser(parseRank)
        .default(parseRank('energy:0.99'), 'energy:0.99'),
    )
    .option('--backend <name>', 'auto, cpu, cuda or js; cuda:1 for a device', parseBackend, 'auto' as const)
    .option('--seed <n>', 'seed of the decomposition', parseWhole(0), 0)
    .option('--batch-size <n>', 'prompts that go through the model together', parseWhole(1), 16)
    .option('--covariances', 'keep C+ and C- in the result')
    .option('--no-spectrum', 'leave out the singular values that the rank rule cuts off')
    .requiredOption('--out <file>', 'result, .safetensors')
    .option('--json', 'print one JSON document')
    .action(run)
}

async function run(options: Options): Promise<void> {
  if (options.center && options.estimator === 'sum') {
    throw new QkError('ERR_USAGE', "covariances of the estimator 'sum' cannot be centred", {
      hint: 'Use per-query or per-pair.',
    })
  }
  await checkResultPath(options.out)
  const prompts = readPrompts(options.prompts)
  const model = await openModel(options.model, { tokenizer: options.tokenizer, sizes: options.size })
  printWarnings(model.warnings)
  const bar = progressBar('prompts')
  const sums = await accumulate(model, prompts, {
    heads: options.heads,
    estimator: options.estimator,
    backend: options.backend,
    batchSize: options.batchSize,
    onProgress: ({ prompts: done, total }) => bar.update(done, total),
  }).finally(() => bar.stop())
  printWarnings(sums.warnings)
  const result = await decompose(sums, {
    rank: options.rank,
    center: options.center,
    seed: options.seed,
    keepCovariances: options.covariances,
    spectrum: options.spectrum,
  })
  disposeSums(sums)
  await result.save(options.out)
  if (options.json) printJson(resultJson(result))
  else printResult(result, options.out)
}

/** The document of `decompose --json`. */
function resultJson(result: Result): unknown {
  const { model, prompts, backend, sites, sharing, warnings } = result.info
  const heads = Object.fromEntries(
    result.headNames.map((head) => [
      head,
      Object.fromEntries(
        result.contrastNames.map((name) => {
          const { rank, s, totalEnergy, scoreGap, terms, skipped } = result.head(head).contrast(name)
          return [name, { rank, s: Array.from(s), totalEnergy, scoreGap, terms, skipped }]
        }),
      ),
    ]),
  )
  const said = { ...(sharing !== 'padded' && { sharing }), ...(warnings && { warnings }) }
  return { model, prompts, backend: backend.name, sites, heads, ...said }
}

const SHOWN_HEADS = 12

const SHARING: Record<string, string> = {
  'equal length':
    'prompts share batches with others of their length: the model has no mask, or rows depend on padding',
  alone: 'prompts run one by one: rows depend on the other prompts of a batch',
}

export function printResult(result: Result, out: string): void {
  const { prompts, backend, estimator, sharing } = result.info
  printLine(
    `${prompts.prompts} prompts, ${result.headNames.length} heads, estimator ${estimator}, ` +
      `backend ${backend.name} (${backend.instructionSet})`,
  )
  if (sharing && sharing !== 'padded') printLine(SHARING[sharing])
  for (const contrast of result.contrastNames) {
    const ranked = strongestHeads(result, contrast)
    printLine()
    const { terms, skipped } = ranked[0]
    const left = skipped > 0 ? ` (${skipped} queries without a positive or a negative key left out)` : ''
    printLine(`${contrast}: ${terms} terms${left}; heads by the mean score that positive keys gain`)
    printTable(
      ['head', 'score gap', 'rank', '‖ΔC‖', 'singular values'],
      ranked
        .slice(0, SHOWN_HEADS)
        .map(({ head, scoreGap, rank, totalEnergy, s }) => [
          head,
          fixed(scoreGap, 3),
          `${rank}`,
          Math.sqrt(totalEnergy).toPrecision(4),
          Array.from(s.slice(0, 5), (value) => value.toPrecision(3)).join('  ') + (s.length > 5 ? '  …' : ''),
        ]),
    )
    if (ranked.length > SHOWN_HEADS) printLine(`… and ${ranked.length - SHOWN_HEADS} more`)
  }
  printLine()
  printLine(`saved ${out}`)
}

/** Heads in descending order of the contrast's score gap. */
export function strongestHeads(result: Result, contrast: string) {
  return result.headNames
    .map((head) => ({ head, ...result.head(head).contrast(contrast) }))
    .sort((a, b) => b.scoreGap - a.scoreGap)
}
