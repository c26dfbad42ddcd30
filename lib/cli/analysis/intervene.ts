/** `qkspace intervene`: edits queries and keys in the subspaces of a result, inside the model. */

import type { Command } from 'commander'
import type { Edit } from '../../intervention/edit.js'
import { type InterventionReport, intervene } from '../../intervention/intervene.js'
import { type AnalysisOptions, addAnalysisOptions, runAnalysis } from '../common/analysis-options.js'
import { parseChoice, parseNumber, parseUnions, parseWhole } from '../common/options.js'
import { estimate, fixed, printLine, printTable } from '../common/output.js'

interface Options extends AnalysisOptions {
  features?: string[][]
  edit: Edit
  side: 'key' | 'query'
  rows: 'query' | 'all'
  factor: number
  to: 'zero' | 'mean'
  strength: number
  randoms: number
  output?: string
}

export function registerIntervene(program: Command): void {
  const command = program
    .command('intervene')
    .description('edit queries or keys in the subspaces of a result, inside the model, beside controls')
  addAnalysisOptions(command)
    .option(
      '--features <names>',
      'contrasts, or unions as in order,match,order+match; by default each and all together',
      parseUnions,
    )
    .option(
      '--edit <name>',
      'swap, patch, ablate or scale',
      parseChoice('edit', ['swap', 'patch', 'ablate', 'scale'] as const),
      'swap' as const,
    )
    .option('--side <name>', 'key or query', parseChoice('side', ['key', 'query'] as const), 'key' as const)
    .option(
      '--rows <name>',
      'the term’s own query, or all',
      parseChoice('choice of rows', ['query', 'all'] as const),
      'query' as const,
    )
    .option('--factor <x>', 'of --edit scale', parseNumber, 2)
    .option(
      '--to <name>',
      'of --edit ablate: zero or mean',
      parseChoice('value', ['zero', 'mean'] as const),
      'zero' as const,
    )
    .option('--strength <x>', 'part of the edit that is made', parseNumber, 1)
    .option('--randoms <n>', 'random subspaces of each rank, as a control', parseWhole(0), 10)
    .option('--output <name>', 'the output of the model that is reported')
    .action(run)
}

async function run(options: Options): Promise<void> {
  const { heads, contrast, edit, side, rows, factor, to, strength, randoms, seed, output, batchSize } =
    options
  await runAnalysis(
    options,
    (model, prompts, result, update) =>
      intervene(model, prompts, {
        ...{
          result,
          heads,
          contrast,
          edit,
          side,
          rows,
          factor,
          to,
          strength,
          randoms,
          seed,
          output,
          batchSize,
        },
        ...(options.features && { features: options.features }),
        onProgress: ({ prompts: done, total }) => update(done, total),
      }),
    printReport,
  )
}

function printReport(report: InterventionReport): void {
  const { terms, edit, side, strength, heads, variants } = report
  printLine(
    `${edit} of ${side === 'key' ? 'keys' : 'queries'}${strength === 1 ? '' : `, strength ${strength}`}, ` +
      `${terms} terms, ${heads.length} head${heads.length === 1 ? '' : 's'} edited together; ` +
      'with 95% intervals over prompts',
  )
  const looked = [...heads].sort((a, b) => attentionBefore(report, b) - attentionBefore(report, a))
  for (const head of looked.slice(0, SHOWN_HEADS)) {
    printLine(`\n${head}`)
    const measured = variants.filter((v) => !v.vacuous && v.heads[head])
    const [{ heads: first }] = measured
    const targeted = first[head].target !== undefined
    const before = first[head]
    printLine(
      `attention before: origin ${fixed(before.origin.before.mean, 3)}` +
        (before.target ? `, target ${fixed(before.target.before.mean, 3)}` : ''),
    )
    printTable(
      ['edited', 'rank', 'origin after', ...(targeted ? ['target after', 'moved', 'Δp', 'flipped'] : [])],
      measured.map((v) => {
        const { origin, target, moved, deltaP, flipRate } = v.heads[head]
        return [
          v.name,
          `${v.ranks[head]}`,
          fixed(origin.after.mean, 3),
          ...(target
            ? [
                fixed(target.after.mean, 3),
                estimate(moved!),
                fixed(deltaP!.mean, 3),
                fixed(flipRate!.mean, 3),
              ]
            : []),
        ]
      }),
    )
  }
  if (heads.length > SHOWN_HEADS) {
    printLine(`\n… and ${heads.length - SHOWN_HEADS} heads that look at the origin less; --json has them all`)
  }
  printOutput(report)
  for (const { name } of variants.filter((v) => v.vacuous && v.kind === 'random')) {
    printLine(`\n${name}: not measured; the features span whole heads, so it would be the edit itself`)
  }
}

const SHOWN_HEADS = 6

function attentionBefore({ variants }: InterventionReport, head: string): number {
  return variants.find((v) => v.heads[head])?.heads[head].origin.before.mean ?? 0
}

function printOutput({ variants }: InterventionReport): void {
  const measured = variants.filter((v) => v.output)
  if (measured.length === 0) return
  const answered = measured.every((v) => v.output!.accuracy)
  const other = measured.every((v) => v.output!.targetRate)
  printLine('\nthe model’s output')
  const [{ output: first }] = measured
  if (answered) printLine(`answer likeliest before: ${fixed(first!.accuracy!.before.mean, 3)}`)
  printTable(
    [
      'edited',
      ...(answered ? ['answer likeliest', 'Δ log p(answer)'] : []),
      ...(other ? ['target’s token likeliest'] : []),
      'KL, nats',
    ],
    measured.map(({ name, output }) => {
      const { answerLogProb: p, accuracy, targetRate, kl } = output!
      return [
        name,
        ...(answered ? [fixed(accuracy!.after.mean, 3), fixed(p!.after.mean - p!.before.mean, 2)] : []),
        ...(other ? [fixed(targetRate!.after.mean, 3)] : []),
        estimate(kl),
      ]
    }),
  )
}
