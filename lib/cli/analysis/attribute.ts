/** `qkspace attribute`: the scores of heads, split over the subspaces of a result. */

import type { Command } from 'commander'
import { type AttributionReport, attribute } from '../../attribution/attribute.js'
import type { AttributionSides } from '../../attribution/attribute-arrays.js'
import type { SplitMethod } from '../../attribution/split.js'
import { type AnalysisOptions, addAnalysisOptions, runAnalysis } from '../common/analysis-options.js'
import { parseChoice, parseNames, parseWhole } from '../common/options.js'
import { estimate, fixed, printLine, printTable } from '../common/output.js'

interface Options extends AnalysisOptions {
  features?: string[]
  method: SplitMethod
  sides: AttributionSides
  centered?: boolean
  examples: number
  points: number
}

export function registerAttribute(program: Command): void {
  const command = program
    .command('attribute')
    .description('split attention scores additively over the subspaces of a result')
  addAnalysisOptions(command)
    .option('--features <names>', 'contrasts, in this order; all by default', parseNames)
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
    .option(
      '--points <n>',
      'queries and keys a feature that are kept as points in its subspace',
      parseWhole(0),
      200,
    )
    .action(run)
}

async function run(options: Options): Promise<void> {
  const { heads, contrast, method, sides, centered, examples, points, seed, batchSize, features } = options
  await runAnalysis(
    options,
    (model, prompts, result, update) =>
      attribute(model, prompts, {
        ...{ result, heads, contrast, method, sides, centered, examples, points, seed, batchSize },
        ...(features && { features }),
        onProgress: ({ prompts: done, total }) => update(done, total),
      }),
    printReport,
  )
}

function printReport({ rows, features, method, sides, centered, heads }: AttributionReport): void {
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
}
