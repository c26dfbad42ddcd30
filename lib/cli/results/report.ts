/** `qkspace report`: one HTML page of results and the analyses made with them. */

import path from 'node:path'
import type { Command } from 'commander'
import { QkError } from '../../errors.js'
import {
  readAttribution,
  readExplanation,
  readInterventions,
  readPaper,
} from '../../report/read-documents.js'
import { checkReportPath, writeReport } from '../../report/report.js'
import { loadResult } from '../../store/result.js'
import { examples } from '../common/examples.js'
import { printJson, printLine } from '../common/output.js'
import { asUsage } from '../common/usage.js'

interface Options {
  attribution: string[]
  interventions: string[]
  explanation: string[]
  paper: string[]
  out: string
  json?: boolean
}

const collect = (value: string, before: string[]) => [...before, value]

export function registerReport(program: Command): void {
  program
    .command('report')
    .description(
      'write one self-contained HTML page of results, attributions, interventions, explanations and the paper’s figures',
    )
    .argument('[results...]', 'results of `decompose`, .safetensors')
    .option('--attribution <file>', 'document of `attribute --out`; may be repeated', collect, [])
    .option('--interventions <file>', 'document of `intervene --out`; may be repeated', collect, [])
    .option('--explanation <file>', 'document of `explain --out`; may be repeated', collect, [])
    .option('--paper <file>', 'paper.json of `paper`; may be repeated', collect, [])
    .requiredOption('--out <file>', 'report, .html')
    .option('--json', 'print one JSON document')
    .addHelpText('after', examples('qkspace report boxes.safetensors --out boxes.html'))
    .action(run)
}

async function run(
  files: string[],
  { attribution, interventions, explanation, paper, out, json }: Options,
): Promise<void> {
  if (files.length + explanation.length + paper.length === 0) {
    throw new QkError(
      'ERR_USAGE',
      'a report needs at least one result of `decompose`, an --explanation, or a --paper',
    )
  }
  await asUsage(checkReportPath(out))
  const named = <T>(from: string[], read: (file: string) => Promise<T>) =>
    Promise.all(from.map(async (file) => ({ name: path.basename(file), value: await read(file) })))
  const parts = {
    results: await named(files, loadResult),
    attributions: await named(attribution, readAttribution),
    interventions: await named(interventions, readInterventions),
    explanations: await named(explanation, readExplanation),
    papers: await named(paper, readPaper),
  }
  const bytes = await writeReport(out, parts)
  if (json) {
    const heads = parts.results.map(({ value }) => value.headNames.length)
    printJson({
      report: out,
      bytes,
      results: files,
      heads,
      attributions: attribution,
      interventions,
      explanations: explanation,
      papers: paper,
    })
  } else {
    printLine(`saved ${out} (${(bytes / 2 ** 20).toFixed(1)} MiB); open it in a browser`)
  }
}
