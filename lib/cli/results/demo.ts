/** `qkspace demo`: the main analysis on the bundled models, in a minute. */

import path from 'node:path'
import type { Command } from 'commander'
import { bundledFile, bundledToys, bundledWords } from '../../bundled/files.js'
import { type BoxesOptions, boxesLexical, boxesOrder } from '../../contrast/families/boxes.js'
import type { Prompt } from '../../contrast/prompt.js'
import { accumulate } from '../../covariance/accumulate.js'
import { disposeSums, type Sums } from '../../covariance/sums.js'
import { type Model, openModel } from '../../model/model.js'
import type { Finding } from '../../report/finding/finding.js'
import { checkReportPath } from '../../report/report.js'
import { decompose } from '../../spectrum/decompose.js'
import { makeFolder } from '../../store/atomic-file.js'
import { checkResultPath, type Result } from '../../store/result.js'
import { sweep } from '../../sweep/sweep.js'
import { checkSweepPath, type SweepResult } from '../../sweep/sweep-result.js'
import { decomposeToy } from '../../toy/decompose.js'
import { readToyConfig } from '../../toy/export.js'
import { printSweep } from '../analysis/sweep.js'
import { examples } from '../common/examples.js'
import { fixed, printJson, printLine, printTable, progressBar } from '../common/output.js'
import { demoReportFile, writeDemoReport } from './demo-report.js'

interface ToyRow {
  model: string
  task: number
  dHead: number
  truth: [number, number]
  recovered: [number, number]
}

interface BoxesRow {
  head: string
  /** Attention of the last token on the answer's box. */
  attention: number
  /** A rank is 0 if the components do not exceed those of exchanged prompts. */
  order: { scoreGap: number; rank: number }
  match: { scoreGap: number; rank: number }
  lexical: { scoreGap: number; rank: number; norm: number }
  /** Words in descending order of the score that a key gains by carrying the word in the question. */
  words: { word: string; scoreGap: number; discovered: boolean }[]
}

export function registerDemo(program: Command): void {
  program
    .command('demo')
    .description(
      'decompose the bundled models: toys with known subspaces, a transformer that binds, and one that nobody guided',
    )
    .option('--out <folder>', 'where results are saved', 'results')
    .option('--json', 'print one JSON document')
    .addHelpText('after', examples('qkspace demo --out results'))
    .action(async ({ out, json }: { out: string; json?: boolean }) => {
      await checkDemoFolder(out)
      if (!json) {
        printLine('Toy payload retrieval: are the ranks of two known latents recovered?\n')
      }
      const toys: ToyRow[] = []
      for (const name of bundledToys()) {
        toys.push(await toyRow(name, out))
      }
      if (!json) {
        printToys(toys)
      }
      const { result, file, words } = await decomposeBoxes(out)
      const boxes = boxesRows(result, words)
      if (!json) {
        printBoxes(boxes, file)
      }
      if (!json) {
        printLine(`\n${INDUCTION}\n`)
      }
      const induction = await sweepInduction(out)
      if (!json) {
        printSweep(induction)
      }
      const { file: report, finding } = await writeDemoReport(out, result, boxes)
      if (json) {
        printJson({
          toys,
          boxes,
          induction: induction.toJSON(),
          finding: finding.sentences,
          saved: out,
          report,
        })
      } else {
        printFinding(finding, report)
      }
    })
}

const toyFile = (out: string, name: string) => path.join(out, name.replace(/\.onnx$/, '.safetensors'))
const boxesFile = (out: string) => path.join(out, 'boxes.safetensors')
const inductionFile = (out: string) => path.join(out, 'induction.sweep.json')

/** Makes the folder, and checks all files that will be written, before the work starts. Errors: ERR_FILE. */
async function checkDemoFolder(out: string): Promise<void> {
  makeFolder(out)
  for (const name of bundledToys()) {
    await checkResultPath(toyFile(out, name))
  }
  await checkResultPath(boxesFile(out))
  await checkSweepPath(inductionFile(out))
  await checkReportPath(demoReportFile(out))
}

/**
 * The three main sentences for a newcomer: what a head attends to, what moves its attention, and how certain that is.
 */
function printFinding({ sentences }: Finding, report: string): void {
  printLine('\nWhat the heads of the transformer that binds do')
  for (const [i, sentence] of sentences.entries()) {
    printLine(`  ${i + 1}. ${sentence}`)
  }
  printLine(`\nopen ${report} in a browser: it begins with this finding, and shows the attention itself`)
}

const INDUCTION =
  'A model nobody guided: two layers of attention that learned to go on with random tokens which come again. What do its heads do?'

/** Sweeps every head of the bundled induction model on random tokens. */
async function sweepInduction(out: string): Promise<SweepResult> {
  const bar = progressBar('induction.onnx')
  const found = await sweep(await openModel(bundledFile('induction.onnx')), undefined, {
    roles: ['previous token', 'same token', 'induction', 'first token'],
    onProgress: ({ done, total }) => bar.update(done, total),
  }).finally(() => bar.stop())
  await found.save(inductionFile(out))
  return found
}

/** Number of prompts per toy model, with four terms per contrast. */
const TOY_PROMPTS = 1500

async function toyRow(name: string, out: string): Promise<ToyRow> {
  const model = await openModel(bundledFile(name))
  const config = readToyConfig(model)
  const result = await decomposeToy(model, { prompts: TOY_PROMPTS })
  await result.save(toyFile(out, name))
  const rank = (contrast: string) => result.head('L0H0').contrast(contrast).rank
  return {
    model: name,
    task: config.task,
    dHead: config.dHead,
    truth: [config.r1, config.r2],
    recovered: [rank('z1'), rank('z2')],
  }
}

function printToys(rows: readonly ToyRow[]): void {
  printTable(
    ['model', 'task', 'head dim', 'true ranks', 'found', ''],
    rows.map(({ model, task, dHead, truth, recovered }) => [
      model,
      `${task}`,
      `${dHead}`,
      truth.join(' and '),
      recovered.join(' and '),
      verdict(truth, recovered, dHead),
    ]),
  )
  printLine(
    '\nfound: components that are more than exchanged prompts show, at 0.05; one in twenty is one too many',
  )
}

function verdict(truth: readonly number[], recovered: readonly number[], dHead: number): string {
  const right = truth.join() === recovered.join()
  const missed = recovered.some((rank, i) => rank < truth[i]) ? 'not recovered' : 'too many'
  if (truth[0] + truth[1] <= dHead) {
    return right ? 'recovered' : missed
  }
  const superposed = `${truth[0]} + ${truth[1]} in ${dHead} dimensions: superposition`
  return right ? `recovered, ${superposed}` : superposed
}

/** Number of words whose own contrasts are accumulated beside the pooled ones. */
const WORDS = 8
const BOXES_PROMPTS = 640

async function decomposeBoxes(out: string): Promise<{ result: Result; file: string; words: string[] }> {
  const { objects, boxes } = bundledWords()
  const model = await openModel(bundledFile('boxes.onnx'), {
    tokenizer: bundledFile('boxes.tokenizer.json'),
  })
  const asked = objects.slice(0, WORDS)
  const base: BoxesOptions = { objects, boxes, prompts: BOXES_PROMPTS, seed: 1 }
  const prompts = [
    ...boxesOrder(base),
    ...boxesLexical({ ...base, seed: 2, asked }, 'question', 'match'),
    ...boxesLexical({ ...base, seed: 3, asked }, 'text and question', 'lexical'),
  ]
  const result = await decomposeAll(model, prompts, 'boxes.onnx')
  const file = boxesFile(out)
  await result.save(file)
  return { result, file, words: asked }
}

async function decomposeAll(model: Model, prompts: Prompt[], what: string): Promise<Result> {
  const bar = progressBar(what)
  let sums: Sums | undefined
  try {
    sums = await accumulate(model, prompts, {
      batchSize: 64,
      onProgress: ({ prompts: done, total }) => bar.update(done, total),
    })
    return await decompose(sums, { spectrum: true })
  } finally {
    bar.stop()
    if (sums) {
      disposeSums(sums)
    }
  }
}

function boxesRows(result: Result, words: readonly string[]): BoxesRow[] {
  return result.headNames
    .map((head): BoxesRow => {
      const of = (contrast: string) => result.head(head).contrast(contrast)
      const lexical = of('lexical')
      const pick = ({ scoreGap, rank }: { scoreGap: number; rank: number }) => ({ scoreGap, rank })
      return {
        head,
        attention: of('order').attention?.positive ?? Number.NaN,
        order: pick(of('order')),
        match: pick(of('match')),
        lexical: { ...pick(lexical), norm: Math.sqrt(lexical.totalEnergy) },
        words: words
          .map((word) => {
            const { scoreGap, test } = of(`match ${word}`)
            return { word, scoreGap, discovered: test?.discovered ?? false }
          })
          .sort((a, b) => b.scoreGap - a.scoreGap),
      }
    })
    .sort((a, b) => b.attention - a.attention)
}

function printBoxes(rows: readonly BoxesRow[], file: string): void {
  printLine(
    '\nA transformer that binds: "The apple is in Box O, the pear is in Box A, … Which box is the pear in? Box"',
  )
  printLine('Which heads read which feature, seen from the last token?\n')
  printLine('  attention  of the last token on the answer’s box')
  printLine(
    '  order      the answer’s box against the other boxes: how many dimensions of the head tell them apart',
  )
  printLine('  match      the same box, asked for by its own object against an object of no box')
  printLine('  lexical    the asked object against another in its place, in text and question')
  printLine('  –          random labels do as well: nothing was found\n')
  printTable(
    ['head', 'attention', 'order', 'match', 'lexical'],
    rows.map(({ head, attention, order, match, lexical }) => [
      head,
      `${fixed(100 * attention, 0)}%`,
      ...[order, match, lexical].map(({ rank }) => (rank === 0 ? '–' : `${rank}`)),
    ]),
  )
  printLine(`\nsaved ${file} (and one file a toy beside it)`)
}
