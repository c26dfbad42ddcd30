/** `qkspace attribute`: the scores of heads, split over the subspaces of a result. */

import type { Command } from 'commander'
import { type AttributionReport, attribute } from '../../attribution/attribute.js'
import type { AttributionSides } from '../../attribution/attribute-arrays.js'
import type { Explained } from '../../attribution/explained.js'
import type { SplitMethod } from '../../attribution/split.js'
import type { RowKeys } from '../../attribution/term-rows.js'
import { counted } from '../../validate.js'
import { type AnalysisOptions, addAnalysisOptions, runAnalysis } from '../common/analysis-options.js'
import { examples } from '../common/examples.js'
import { parseChoice, parseControls, parseNames, parseWhole } from '../common/options.js'
import { estimate, fixed, printLine, printTable } from '../common/output.js'

interface Options extends AnalysisOptions {
  features?: string[]
  method: SplitMethod
  sides: AttributionSides
  keys: RowKeys
  centered: boolean
  randoms: number
  examples: number
  points: number
  reads?: number
}

export function registerAttribute(program: Command): void {
  const command = program
    .command('attribute')
    .description('split attention scores additively over the subspaces of a result, beside controls')
  addAnalysisOptions(command)
    .option('--features <names>', 'contrasts, in this order; all by default', parseNames)
    .option(
      '--method <name>',
      'shapley, residualize (in the order of the features) or orthogonalize',
      parseChoice('method', ['shapley', 'residualize', 'orthogonalize'] as const),
      'shapley' as const,
    )
    .option(
      '--sides <name>',
      'query, key or both',
      parseChoice('side', ['query', 'key', 'both'] as const),
      'query' as const,
    )
    .option(
      '--keys <name>',
      'keys that count: those of the term, or all',
      parseChoice('choice of keys', ['term', 'all'] as const),
      'term' as const,
    )
    .option('--centered', 'subtract the mean of each row, which softmax ignores', true)
    .option('--no-centered', 'leave the mean of each row in')
    .option('--randoms <n>', 'random subspaces of the same ranks, as a control', parseControls, 10)
    .option('--examples <n>', 'prompts whose rows are kept in --out and --json', parseWhole(0), 4)
    .option(
      '--points <n>',
      'queries and keys a feature that are kept as points in its subspace',
      parseWhole(0),
      200,
    )
    .option(
      '--reads <n>',
      'tokens of the vocabulary that are read along each component; 0 reads none, 65536 by default',
      parseWhole(0),
    )
    .addHelpText(
      'after',
      examples(
        'qkspace attribute --model model.onnx --prompts held-out.jsonl --result boxes.safetensors --heads L3H0 --out parts.json',
      ),
    )
    .action(run)
}

async function run(options: Options): Promise<void> {
  const { heads, contrast, method, sides, keys, centered, randoms, examples, points, reads } = options
  const { seed, batchSize, features } = options
  await runAnalysis(
    options,
    (model, prompts, result, update) =>
      attribute(model, prompts, {
        result,
        heads,
        contrast,
        method,
        sides,
        keys,
        centered,
        randoms,
        examples,
        points,
        ...(reads !== undefined && { reads: reads === 0 ? false : reads }),
        seed,
        batchSize,
        ...(features && { features }),
        onProgress: ({ prompts: done, total }) => update(done, total),
      }),
    printReport,
    { name: 'an attribution', first: 'model', fields: ['"features": [', '"examples": ['] },
  )
}

function printReport(report: AttributionReport): void {
  const { rows, features, method, order, sides, keys, centered, heads, noNull } = report
  printLine(
    `${counted(rows, 'row')} of scores, ${keys === 'term' ? 'keys of the term' : 'all keys'}${centered ? ', centred' : ''}; ` +
      `${sides} side${sides === 'both' ? 's' : ''}; ${method}${order ? ` in the order ${order.join(', ')}` : ''}; ` +
      'with 95% intervals over prompts',
  )
  const ranked = Object.entries(heads).sort(([, a], [, b]) => largest(b) - largest(a))
  printLine('\nexplained, of all energy, and by what stands beside it')
  printTable(
    ['head', 'terms', 'by', 'rank', 'explained', 'null 95%', 'keys', 'mean query', 'random', ''],
    ranked.flatMap(([head, { contrasts }]) =>
      Object.entries(contrasts).flatMap(([name, found]) => [
        ...(found.own ? [explainedRow(head, name, name, found.own)] : []),
        ...(features.length > 1 || !found.own ? [explainedRow(head, name, 'all features', found)] : []),
      ]),
    ),
  )
  if (features.length > 1) {
    printLine('\nshares of the features, each with the null’s 95th percentile')
    printTable(
      ['head', 'terms', ...features],
      ranked.flatMap(([head, { contrasts }]) =>
        Object.entries(contrasts).map(([name, { share }]) => [
          head,
          name,
          ...features.map((feature) => {
            const { mean, nulls } = share[feature]
            return `${fixed(mean, 3)}${nulls ? ` (${fixed(nulls.p95, 3)})` : ''}`
          }),
        ]),
      ),
    )
  }
  if (noNull) {
    printLine(`\n${noNull}`)
  }
}

function explainedRow(head: string, terms: string, by: string, explained: Explained): string[] {
  const { rank, energy, controls, exceedsNull } = explained
  const { nulls, keys, meanQuery, random } = controls
  const known = (x: number | null | undefined) => (typeof x === 'number' ? fixed(x, 3) : '-')
  return [
    head,
    terms,
    by,
    `${rank}`,
    estimate(energy),
    rank > 0 && !nulls ? 'no null' : known(nulls?.p95),
    known(keys),
    known(meanQuery),
    known(random?.mean),
    exceedsNull === false ? 'within null' : '',
  ]
}

function largest({ contrasts }: AttributionReport['heads'][string]): number {
  return Math.max(...Object.values(contrasts).map(({ energy }) => energy.mean))
}
