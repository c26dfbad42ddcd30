/** `qkspace intervene`: edits queries and keys in the subspaces of a result, inside the model. */

import type { Command } from 'commander'
import type { Edit } from '../../intervention/edit.js'
import type { InterventionVariant } from '../../intervention/edit-report.js'
import { type InterventionReport, intervene } from '../../intervention/intervene.js'
import type { Estimate } from '../../math/bootstrap.js'
import { counted } from '../../validate.js'
import { type AnalysisOptions, addAnalysisOptions, runAnalysis } from '../common/analysis-options.js'
import { examples } from '../common/examples.js'
import { parseChoice, parseControls, parseNumber, parseUnions } from '../common/options.js'
import { estimate, fixed, printLine, printTable } from '../common/output.js'

interface Options extends AnalysisOptions {
  features?: string[][]
  edit: Edit
  side: 'key' | 'query'
  rows: 'query' | 'all'
  factor: number
  to: 'zero' | 'mean'
  strength: number
  nulls: number
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
    .option('--nulls <n>', 'null subspaces a feature, as a control; each is a run', parseControls, 20)
    .option('--randoms <n>', 'random subspaces of each rank, as a control; each is a run', parseControls, 10)
    .option('--output <name>', 'the output of the model that is reported')
    .addHelpText(
      'after',
      examples(
        'qkspace intervene --model model.onnx --prompts held-out.jsonl --result boxes.safetensors --heads L3H0 --out moves.json',
      ),
    )
    .action(run)
}

async function run(options: Options): Promise<void> {
  const { heads, contrast, edit, side, rows, factor, to, strength, nulls, randoms } = options
  const { seed, output, batchSize, features } = options
  await runAnalysis(
    options,
    (model, prompts, result, update) =>
      intervene(model, prompts, {
        result,
        heads,
        contrast,
        edit,
        side,
        rows,
        factor,
        to,
        strength,
        nulls,
        randoms,
        seed,
        output,
        batchSize,
        ...(features && { features }),
        // Prompts of a batch count in proportion to its finished runs.
        onProgress: ({ fraction, total }) => update(Math.floor(fraction * total), total),
      }),
    printReport,
    { name: 'an intervention document', first: 'model', fields: ['"variants": ['] },
  )
}

function printReport(report: InterventionReport): void {
  const { terms, edit, side, strength, heads, variants, noNull } = report
  printLine(
    `${edit} of ${side === 'key' ? 'keys' : 'queries'}${strength === 1 ? '' : `, strength ${strength}`}, ` +
      `${counted(terms, 'term')}, ${counted(heads.length, 'head')} edited together; ` +
      'with 95% intervals over prompts',
  )
  const looked = [...heads].sort((a, b) => attentionBefore(report, b) - attentionBefore(report, a))
  for (const head of looked.slice(0, SHOWN_HEADS)) {
    printHead(report, head)
  }
  if (heads.length > SHOWN_HEADS) {
    printLine(
      `\n… and ${counted(heads.length - SHOWN_HEADS, 'head')} that look at the origin less; --json has them all`,
    )
  }
  printOutput(report)
  if (noNull) {
    printLine(`\n${noNull}`)
  }
  for (const { name, kind, vacuous, draws } of variants) {
    if (vacuous && kind === 'random') {
      printLine(`\n${name}: not measured; the features span whole heads, so it would be the edit itself`)
    }
    if (kind === 'features' && draws > 0 && !measured(variants, name)) {
      printLine(`\n${name}: not measured; the prompts have no terms of its own, and --contrast names others`)
    }
  }
}

function measured(variants: readonly InterventionVariant[], name: string): boolean {
  return variants.some((v) => v.kind === 'features' && v.name === name && v.terms > 0)
}

function printHead({ variants }: InterventionReport, head: string): void {
  printLine(`\n${head}`)
  const shown = variants.filter((v) => !v.vacuous && v.heads[head])
  const targeted = shown[0].heads[head].target !== undefined
  printTable(
    [
      'edited',
      'terms',
      'rank',
      'origin before',
      'after',
      ...(targeted ? ['target before', 'after', 'moved', 'Δp', 'flipped'] : []),
      '',
    ],
    shown.map((v) => {
      const { origin, target, moved, deltaP, flipRate, p95, exceedsNull } = v.heads[head]
      const top = (name: 'moved' | 'deltaP' | 'flipRate') => percentile(p95?.[name])
      return [
        v.name,
        `${v.terms}`,
        `${v.ranks[head]}`,
        fixed(origin.before.mean, 3),
        fixed(origin.after.mean, 3),
        ...(target
          ? [
              fixed(target.before.mean, 3),
              fixed(target.after.mean, 3),
              movedCell(moved, origin.before.mean) + top('moved'),
              fixed(deltaP!.mean, 3) + top('deltaP'),
              fixed(flipRate!.mean, 3) + top('flipRate'),
            ]
          : []),
        withinNull(
          exceedsNull,
          targeted ? { moved: 'moved', deltaP: 'Δp', flipRate: 'flipped' } : { origin: 'origin' },
        ),
      ]
    }),
  )
}

function movedCell(moved: Estimate | null | undefined, origin: number): string {
  return moved ? estimate(moved) : `nothing to move (origin ${fixed(100 * origin, 1)}%)`
}

/** The 95th percentile of null and random subspaces, beside their mean. */
function percentile(p95: number | null | undefined): string {
  return typeof p95 === 'number' ? ` (95%: ${fixed(p95, 3)})` : ''
}

/** Names the figures of a feature that do not exceed those of its null subspaces. */
function withinNull(
  exceeds: Partial<Record<string, boolean | null>> | null | undefined,
  names: Readonly<Record<string, string>>,
): string {
  if (!exceeds) {
    return ''
  }
  const within = Object.entries(names).filter(([key]) => exceeds[key] === false)
  return within.length === 0 ? '' : `within null: ${within.map(([, name]) => name).join(', ')}`
}

const SHOWN_HEADS = 6

function attentionBefore({ variants }: InterventionReport, head: string): number {
  return variants.find((v) => v.heads[head])?.heads[head].origin.before.mean ?? 0
}

function printOutput({ variants }: InterventionReport): void {
  const measured = variants.filter((v) => v.output)
  if (measured.length === 0) {
    return
  }
  const answered = measured.every((v) => v.output!.accuracy)
  const other = measured.every((v) => v.output!.targetRate)
  printLine('\nthe model’s output')
  printTable(
    [
      'edited',
      ...(answered ? ['answer likeliest before', 'after', 'Δ log p(answer)'] : []),
      ...(other ? ['target’s token likeliest'] : []),
      'KL, nats',
      '',
    ],
    measured.map(({ name, output }) => {
      const { answerLogProb: p, accuracy, targetRate, kl, p95, exceedsNull } = output!
      return [
        name,
        ...(answered
          ? [
              fixed(accuracy!.before.mean, 3),
              fixed(accuracy!.after.mean, 3),
              fixed(p!.after.mean - p!.before.mean, 2) + percentile(p95?.answerLogProb),
            ]
          : []),
        ...(other ? [fixed(targetRate!.after.mean, 3)] : []),
        estimate(kl) + percentile(p95?.kl),
        withinNull(exceedsNull, { kl: 'KL', ...(answered && { answerLogProb: 'Δ log p' }) }),
      ]
    }),
  )
}
