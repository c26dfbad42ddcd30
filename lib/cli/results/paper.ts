/** `qkspace paper`: reproduces the paper's figures on the bundled models. */

import path from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import type { PaperFigure } from '../../paper/figure.js'
import { FIGURE_NUMBERS, runPaper } from '../../paper/index.js'
import { percent } from '../../paper/percent.js'
import { weakest } from '../../paper/verdict.js'
import { preparePaperFolder, writePaper } from '../../paper/write.js'
import { checkReportPath, writeReport } from '../../report/report.js'
import { examples } from '../common/examples.js'
import { parseNames, parseSeed } from '../common/options.js'
import { printJson, printLine, printTable, progressBar } from '../common/output.js'

interface Options {
  out: string
  quick?: boolean
  only?: number[]
  seed: number
  randomLabels?: boolean
  json?: boolean
}

export function registerPaper(program: Command): void {
  program
    .command('paper')
    .description(
      'figures 2 to 10 of arXiv 2602.04752 on the bundled models, and which of its claims are evidence',
    )
    .option('--out <folder>', 'where tables, JSON and CSV, and report.html are saved', 'results/paper')
    .option('--quick', 'fewer prompts, and no toys trained')
    .option('--only <figures>', 'figures with commas, as in 2,4 (default: all)', parseFigures)
    .option('--seed <n>', 'seed of prompts, controls and intervals', parseSeed, 1)
    .option(
      '--random-labels',
      'a control: exchange positives and negatives at random before anything is decomposed',
    )
    .option('--json', 'print one JSON document: the claims, without the tables')
    .addHelpText('after', examples('qkspace paper --quick --only 5 --out results/paper'))
    .action(run)
}

function parseFigures(value: string): number[] {
  return parseNames(value).map((name) => {
    const number = Number(name)
    if (FIGURE_NUMBERS.includes(number)) {
      return number
    }
    throw new InvalidArgumentError(`There is no figure "${name}"; use ${FIGURE_NUMBERS.join(', ')}.`)
  })
}

async function run({ out, quick = false, only, seed, randomLabels = false, json }: Options): Promise<void> {
  await preparePaperFolder(out)
  const page = path.join(out, 'report.html')
  await checkReportPath(page)
  const bar = progressBar('experiments')
  const report = await runPaper({
    quick,
    seed,
    randomLabels,
    ...(only && { only }),
    onProgress: ({ done, total }) => bar.update(done, total),
  }).finally(() => bar.stop())
  const files = await writePaper(out, report)
  await writeReport(page, { papers: [{ name: path.basename(files[0]), value: report }] })
  if (json) {
    const figures = report.figures.map(({ tables, ...claim }) => ({
      ...claim,
      tables: tables.map(({ name }) => name),
    }))
    printJson({ ...report, figures, files, report: page })
    return
  }
  printTable(
    ['figure', 'verdict', 'decided by', 'null, 95th percentile', 'key components', 'claim'],
    claimRows(report.figures),
  )
  for (const { figure, title, why, further = [], notes = [] } of report.figures) {
    printLine(`\n${figure}  ${title}\n   ${why}`)
    for (const { claim, why: own } of further) {
      printLine(`   ${claim} ${own}`)
    }
    for (const note of notes) {
      printLine(`   Note: ${note}`)
    }
  }
  printLine(`\nsaved ${files[0]}, and ${files.length - 1} tables as CSV beside it; open ${page} in a browser`)
}

/** One row per claim, with the figure that exceeds its null by least. */
function claimRows(figures: readonly PaperFigure[]): string[][] {
  return figures.flatMap(({ figure, further = [], ...own }) =>
    [own, ...further].map(({ verdict, claim, decisive }) => {
      const { name, value, nulls, keys } = weakest(decisive)
      const beside = nulls ? `${percent(nulls.mean)}, ${percent(nulls.p95)}` : 'none'
      return [
        figure,
        verdict,
        `${name} ${percent(value)}`,
        beside,
        typeof keys === 'number' ? percent(keys) : '',
        claim,
      ]
    }),
  )
}
