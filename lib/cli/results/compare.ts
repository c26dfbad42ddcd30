/** `qkspace compare`: two results of one model family, head by head. */

import type { Command } from 'commander'
import {
  type ComparedContrast,
  type Comparison,
  compareResults,
} from '../../spectrum/compare/compare-results.js'
import type { Change, MeasureOfBoth } from '../../spectrum/compare/measures.js'
import type { SideOverlap } from '../../spectrum/compare/overlap.js'
import { loadResult, type Result } from '../../store/result.js'
import { modelName } from '../../store/result-info.js'
import { counted } from '../../validate.js'
import { examples } from '../common/examples.js'
import { parseHeadNames, parseNames } from '../common/options.js'
import { fixed, printJson, printLine, printTable, printWarnings } from '../common/output.js'

interface Options {
  heads: string
  contrast?: string[]
  json?: boolean
}

export function registerCompare(program: Command): void {
  program
    .command('compare')
    .description('compare two results head by head: other prompts, a quantised copy, another checkpoint')
    .argument('<A>', 'result of `decompose`, .safetensors')
    .argument('<B>', 'another result, with heads and contrasts of the same names')
    .option('--heads <heads>', 'all that both have, or names as in L0H1,L2H3', parseHeadNames, 'all')
    .option('--contrast <names>', 'contrasts, with commas; all that both have by default', parseNames)
    .option('--json', 'print one JSON document')
    .addHelpText('after', examples('qkspace compare a.safetensors b.safetensors --heads L3H0'))
    .action(run)
}

async function run(fileA: string, fileB: string, { heads, contrast, json }: Options): Promise<void> {
  const [a, b] = await Promise.all([fileA, fileB].map(loadResult))
  const comparison = compareResults(a, b, { heads, ...(contrast && { contrasts: contrast }) })
  printWarnings(comparison.warnings)
  if (json) {
    printJson({ a: origin(fileA, a), b: origin(fileB, b), ...comparison })
    return
  }
  for (const [name, file, result] of [
    ['A', fileA, a],
    ['B', fileB, b],
  ] as const) {
    const { model, prompts } = result.info
    printLine(`${name}  ${file}: ${modelName(model)}, ${counted(prompts.prompts, 'prompt')}`)
  }
  printComparison(comparison)
}

function origin(file: string, { info: { model, prompts } }: Result) {
  return {
    file,
    model,
    prompts: { source: prompts.source, sha256: prompts.sha256, prompts: prompts.prompts },
  }
}

const SHOWN_ROWS = 20

/** Columns of figures that both results may have, with their decimals. */
const MEASURES = {
  scoreGap: { title: 'score gap', text: (x) => fixed(x, 3) },
  q: { title: 'q', text: (x) => x.toPrecision(2) },
  attentionPositive: { title: 'attention on positives', text: (x) => fixed(x, 3) },
  attentionNegative: { title: 'on negatives', text: (x) => fixed(x, 3) },
  explained: { title: 'explains', text: (x) => fixed(x, 3) },
  explainedNull: { title: 'null explains', text: (x) => fixed(x, 3) },
  moved: { title: 'moves', text: (x) => fixed(x, 3) },
  movedNull: { title: 'null moves', text: (x) => fixed(x, 3) },
} satisfies Record<MeasureOfBoth, { title: string; text: (x: number) => string }>

function printComparison({ rows, sameModel }: Comparison): void {
  const measures = (Object.keys(MEASURES) as MeasureOfBoth[]).filter((name) =>
    rows.some((row) => row.measures[name]),
  )
  printLine()
  printTable(
    [
      'head',
      'contrast',
      'discovered',
      'replicated',
      'rank',
      'query overlap',
      'null 95%',
      'key overlap',
      'null 95%',
      'random',
      'beyond the null',
      ...measures.map((name) => MEASURES[name].title),
    ],
    rows.slice(0, SHOWN_ROWS).map((row) => [
      row.head,
      row.contrast,
      inWhich(row.discovered),
      inWhich(row.replicated),
      changed(row.rank, String),
      ...sideCells(row.query),
      ...sideCells(row.key),
      row.random === null ? '' : fixed(row.random, 3),
      beyond(row),
      ...measures.map((name) => {
        const change = row.measures[name]
        return change ? changed(change, MEASURES[name].text) : ''
      }),
    ]),
  )
  if (rows.length > SHOWN_ROWS) {
    printLine(`… and ${rows.length - SHOWN_ROWS} more`)
  }
  printLine()
  for (const line of explanations(rows, sameModel)) {
    printLine(line)
  }
}

const changed = <T>({ a, b }: Change<T>, text: (value: T) => string) => `${text(a)} → ${text(b)}`

function inWhich({ a, b }: Change<boolean | null>): string {
  if (a === null && b === null) {
    return ''
  }
  if (a && b) {
    return 'both'
  }
  return a ? 'A' : b ? 'B' : 'neither'
}

function sideCells(side: SideOverlap | null): string[] {
  if (!side) {
    return ['', '']
  }
  return [fixed(side.overlap, 3), side.null ? fixed(side.null.p95, 3) : 'no null']
}

function beyond({ rank, query, key }: ComparedContrast): string {
  if (!query || !key) {
    return `rank 0 in ${rank.a === 0 ? (rank.b === 0 ? 'both' : 'A') : 'B'}`
  }
  if (query.withinNull === null) {
    return 'no null'
  }
  const sides = [!query.withinNull && 'query', !key.withinNull && 'key'].filter(Boolean)
  return sides.length > 0 ? sides.join(' and ') : 'within the null'
}

/** Notes below the table. */
function explanations(rows: readonly ComparedContrast[], sameModel: boolean): string[] {
  const sides = rows.flatMap(({ query }) => query ?? [])
  const tested = sides.filter((side) => side.null)
  const lines: string[] = []
  if (tested.length > 0) {
    lines.push(
      'overlap: 1 where the smaller subspace lies inside the larger; the null is the overlap with the null subspaces of the other',
      'result. About one side in twenty exceeds its 95th percentile by chance.',
    )
  }
  if (tested.length < sides.length) {
    lines.push(
      'no null: made without null subspaces. An overlap without its null is no evidence, however far above random it lies.',
    )
  }
  if (!sameModel) {
    lines.push(
      'The models differ: subspaces can be compared where heads share their axes, as in a quantised copy or a checkpoint of the',
      'same training, and not between models that were trained apart.',
    )
  }
  return lines
}
