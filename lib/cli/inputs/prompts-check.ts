/** `qkspace prompts check`: checks what a prompt set's ΔC may hold besides the intended feature. */

import type { Command } from 'commander'
import { checkPromptSet } from '../../contrast/check/check-set.js'
import type { ContrastCheck, Finding, Measure, PromptSetCheck } from '../../contrast/check/report.js'
import { loadTokenizer, type PromptTokenizer } from '../../model/tokenizer/tokenizer.js'
import { counted } from '../../validate.js'
import { examples } from '../common/examples.js'
import { addModelOptions, MODEL_HELP, type ModelOptions, openNamed } from '../common/model-options.js'
import { parseSeed } from '../common/options.js'
import { fixed, printJson, printLine, printTable, progressBar } from '../common/output.js'
import { promptSetOf } from '../common/prompt-options.js'

interface Options extends ModelOptions {
  model?: string
  seed: number
  json?: boolean
}

export function registerPromptsCheck(prompts: Command): void {
  const command = prompts
    .command('check')
    .description('look for what a prompt set contrasts besides the feature: position, tokens, length, units')
    .argument('<set>', 'prompt set, JSONL, or - for standard input')
  addModelOptions(command, {
    required: false,
    model: `${MODEL_HELP}; prompts are encoded as it takes them`,
    tokenizer:
      'tokenizer.json (default: that beside the model); without one, text is judged by characters and words',
  })
    .option('--seed <n>', 'seed of the null draws and of the sample of units', parseSeed, 0)
    .option('--json', 'print one JSON document')
    .addHelpText('after', examples('qkspace prompts check boxes.jsonl --tokenizer tokenizer.json'))
    .action(run)
}

async function run(file: string, options: Options): Promise<void> {
  const { seed, json } = options
  const set = await promptSetOf(file)
  const tokenizer = await tokenizerOf(options)
  const bar = progressBar('prompts')
  const check = await checkPromptSet(set, { tokenizer, seed, onProgress: bar.update }).finally(bar.stop)
  if (json) {
    printJson(check)
    return
  }
  print(check)
}

async function tokenizerOf(options: Options): Promise<PromptTokenizer | undefined> {
  const { model, tokenizer } = options
  if (model !== undefined) {
    return (await openNamed(model, options)).tokenizer
  }
  return tokenizer ? loadTokenizer(tokenizer) : undefined
}

function print(check: PromptSetCheck): void {
  const { source, prompts, warnings, findings, contrasts, level, draws, seed, minimal } = check
  printLine(`${source}: ${count(prompts, 'prompt')}, ${count(warnings, 'warning')}`)
  printFindings(findings)
  for (const contrast of contrasts) {
    printContrast(contrast)
  }
  printLine()
  printLine(
    `Chance is the mean over ${counted(draws, 'draw')} (seed ${seed}) in which the sides of whole units are swapped at random.`,
  )
  printLine(
    `A contrast has the level ${level}, shared over its measures. Trifles are left out: an AUC within ${minimal.auc} of 0.5,`,
  )
  printLine(
    `a total variation less than ${minimal.totalVariation} above chance, a rate within ${minimal.rate} of 0.`,
  )
}

function printContrast(check: ContrastCheck): void {
  const { contrast, rule, prompts, terms, units, sampledUnits, positionsIn, unplacedTerms } = check
  printLine()
  printLine(
    `${contrast} (${rule}): ${count(prompts, 'prompt')}, ${count(terms, rule === 'labels' ? 'query' : 'term')}, ${count(units, 'unit')}; positions are ${positionsIn}`,
  )
  if (sampledUnits < units) {
    printLine(`Measured on a sample of ${counted(sampledUnits, 'unit')}.`)
  }
  if (positionsIn === 'characters') {
    printLine('Without a tokenizer, positions are characters, and tokens are the words of the text.')
  }
  if (unplacedTerms > 0) {
    printLine(`Not measured: ${count(unplacedTerms, 'term')} with token indices in text; give --tokenizer.`)
  }
  printFindings(check.findings)
  if (!check.findings.some(({ level }) => level === 'warning')) {
    printLine('  no warning')
  }
  if (check.measures.length > 0) {
    printLine()
    printTable(
      ['measure', 'of', 'size', 'chance', '99%', 'p', 'units'],
      check.measures.map((measure) => row(measure)),
    )
  }
}

function printFindings(findings: readonly Finding[]): void {
  for (const { kind, level, message, where } of findings) {
    printLine(`  ${level}, ${kind}: ${message}`)
    for (const place of where ?? []) {
      printLine(`    ${place}`)
    }
  }
}

function row({ name, scale, size, chance, chance99, p, units }: Measure): string[] {
  const of = scale === 'totalVariation' ? 'total variation' : scale === 'auc' ? 'AUC' : scale
  return [name, of, fixed(size, 3), fixed(chance, 3), fixed(chance99, 3), fixed(p, 4), `${units}`]
}

function count(n: number, one: string): string {
  if (n === 1) {
    return `1 ${one}`
  }
  return `${n} ${one.endsWith('y') ? `${one.slice(0, -1)}ies` : `${one}s`}`
}
