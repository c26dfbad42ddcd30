/** `qkspace decompose`: from a model and a prompt set to saved subspaces. */

import { type Command, Option } from 'commander'
import type { Estimator } from '../../backend/backend.js'
import type { BackendChoice } from '../../backend/select.js'
import { accumulate } from '../../covariance/accumulate.js'
import type { KeptDraws } from '../../covariance/checkpointing.js'
import { shardName } from '../../covariance/shard.js'
import { disposeSums, type Sums } from '../../covariance/sums.js'
import { QkError } from '../../errors.js'
import { decompose } from '../../spectrum/decompose.js'
import type { RankRule } from '../../store/result.js'
import { checkResultPath, type Result } from '../../store/result.js'
import { SAVE_FORMATS } from '../../store/saving/formats.js'
import { counted } from '../../validate.js'
import { addModelOptions, type ModelOptions, openNamed } from '../common/model-options.js'
import {
  BACKENDS,
  parseBackend,
  parseControls,
  parseEstimator,
  parseHeadNames,
  parseRank,
  parseWhole,
} from '../common/options.js'
import { fixed, printJson, printLine, printTable, printWarnings, progressBar } from '../common/output.js'
import { promptSetOf } from '../common/prompt-options.js'
import { addScaleOptions, type ScaleOptions, withCheckpoint } from '../common/scale-options.js'
import { asUsage } from '../common/usage.js'

/** Options of `decompose` that apply after accumulation. */
export interface DecomposeSettings {
  center?: boolean
  rank: RankRule
  nulls?: number
  seed: number
  covariances?: boolean
  spectrum: boolean
}

/** What `decompose` takes to capture rows. */
export interface CaptureSettings {
  heads: string
  estimator: Estimator
  backend: BackendChoice
  nullMemory: number
  batchSize: number
}

interface Options extends ModelOptions, ScaleOptions, CaptureSettings, DecomposeSettings {
  model: string
  prompts: string
  out: string
  json?: boolean
}

export function registerDecompose(program: Command): void {
  const command = program.command('decompose').description('find the query-key subspaces of named contrasts')
  const full = addScaleOptions(addModelOptions(command)).requiredOption(
    '--prompts <file>',
    'prompt set, JSONL, or - for standard input',
  )
  addDecomposeOptions(full)
    .requiredOption('--out <file>', `result, by its ending ${SAVE_FORMATS.map((f) => `.${f}`).join(', ')}`)
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      `
.safetensors carries everything and is read again; .npz holds the same tensors for NumPy; .json, .csv and .parquet hold
one row a head and contrast.

Examples:
  qkspace decompose --model boxes.onnx --tokenizer tokenizer.json --prompts boxes.jsonl --out boxes.safetensors
  qkspace decompose --model boxes.onnx --tokenizer tokenizer.json --prompts boxes.jsonl --checkpoint state --out boxes.npz
  qkspace decompose --model boxes.onnx --tokenizer tokenizer.json --prompts boxes.jsonl --shard 1/2 --out 1.safetensors
  qkspace decompose --model boxes.onnx --tokenizer tokenizer.json --prompts boxes.jsonl --shard 2/2 --out 2.safetensors`,
    )
    .action(run)
}

/** The options that say what is computed. */
export function addDecomposeOptions(command: Command): Command {
  return command
    .option('--heads <heads>', 'all, or names as in L0H1,L2H3', parseHeadNames, 'all')
    .option('--estimator <name>', 'per-query, per-pair or sum', parseEstimator, 'per-query' as const)
    .option('--center', 'subtract the product of the mean query and the mean key')
    .addOption(
      new Option('--rank <rule>', 'permutation:0.05 (a test), energy:0.99 or fixed:8')
        .argParser(parseRank)
        .default(parseRank('permutation:0.05'), 'permutation:0.05'),
    )
    .addOption(
      new Option(
        '--null-memory <MiB>',
        'memory for the rows that the test needs; more go to a temporary file',
      )
        .argParser(parseWhole(0))
        .default(1024),
    )
    .option(
      '--nulls <n>',
      'null subspaces beside every subspace; by default 20 with permutation, 0 with other rules',
      parseControls,
    )
    .option('--backend <name>', BACKENDS, parseBackend, 'auto' as const)
    .option('--seed <n>', 'seed of the decomposition and of the test', parseWhole(0), 0)
    .option('--batch-size <n>', 'prompts that go through the model together', parseWhole(1), 16)
    .option('--covariances', 'keep C+ and C- in the result')
    .option('--no-spectrum', 'leave out the singular values that the rank rule cuts off')
}

/** Errors: ERR_USAGE where options exclude each other. */
export function checkDecompose({ center, estimator }: Pick<Options, 'center' | 'estimator'>): void {
  if (center && estimator === 'sum') {
    throw new QkError('ERR_USAGE', "covariances of the estimator 'sum' cannot be centred", {
      hint: 'Use per-query or per-pair.',
    })
  }
}

/** Bytes for the rows that the test needs: without a test or null subspaces nobody asks for them. */
export function rowBytes({
  rank,
  nulls,
  nullMemory,
}: Pick<Options, 'rank' | 'nulls' | 'nullMemory'>): number {
  return rank.rule === 'permutation' || (nulls ?? 0) > 0 ? nullMemory * 2 ** 20 : 0
}

async function run(options: Options): Promise<void> {
  checkDecompose(options)
  if (options.shard) {
    const { checkPartPath } = await import('../../covariance/saved/parts.js')
    await asUsage(checkPartPath(options.out))
  } else {
    await asUsage(checkResultPath(options.out))
  }
  await withCheckpoint(options, async (checkpoint) => {
    const prompts = await promptSetOf(options.prompts)
    const model = await openNamed(options.model, options)
    const bar = progressBar('prompts')
    const sums = await accumulate(model, prompts, {
      heads: options.heads,
      estimator: options.estimator,
      backend: options.backend,
      batchSize: options.batchSize,
      nullBytes: rowBytes(options),
      shard: options.shard,
      checkpoint,
      onProgress: ({ prompts: done, total }) => bar.update(done, total),
    }).finally(() => bar.stop())
    printWarnings(sums.warnings)
    if (options.shard) {
      await savePart(sums, options)
    } else {
      await finishDecompose(sums, options, { out: options.out, json: options.json, checkpoint })
    }
  })
}

async function savePart(sums: Sums, options: Options): Promise<void> {
  const { nextOf } = await import('../../covariance/saved/next-step.js')
  const { saveSums } = await import('../../covariance/saved/parts.js')
  const { center, rank, nulls, seed, covariances, spectrum, out } = options
  await saveSums(
    sums,
    out,
    nextOf('decompose', options, { center, rank, nulls, seed, covariances, spectrum }),
  )
  disposeSums(sums)
  printLine(`saved ${out}, shard ${shardName(sums.shard!)} of ${counted(sums.prompts.prompts, 'prompt')}`)
}

/** Decomposes, saves and prints; frees the sums. */
export async function finishDecompose(
  sums: Sums,
  settings: DecomposeSettings,
  { out, json, checkpoint }: { out: string; json?: boolean; checkpoint?: KeptDraws },
): Promise<void> {
  const testing = progressBar('tests')
  const { rank, center, nulls, seed, covariances, spectrum } = settings
  const result = await decompose(sums, {
    rank,
    center,
    ...(nulls !== undefined && { nulls }),
    seed,
    keepCovariances: covariances,
    spectrum,
    checkpoint,
    onProgress: ({ done, total }) => testing.update(done, total),
  }).finally(() => testing.stop())
  disposeSums(sums)
  printWarnings(result.info.warnings)
  await result.save(out)
  if (json) {
    printJson(resultJson(result))
  } else {
    printResult(result, out)
  }
}

/** The document of `decompose --json`. */
function resultJson(result: Result): unknown {
  const { model, prompts, backend, sites, sharing, warnings } = result.info
  const heads = Object.fromEntries(
    result.headNames.map((head) => [
      head,
      Object.fromEntries(
        result.contrastNames.map((name) => {
          const { rank, s, totalEnergy, scoreGap, terms, skipped, test } = result.head(head).contrast(name)
          const found = { rank, s: Array.from(s), totalEnergy, scoreGap, terms, skipped }
          return [name, test ? { ...found, ...test, rank } : found]
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
    `${counted(prompts.prompts, 'prompt')}, ${counted(result.headNames.length, 'head')}, estimator ${estimator}, ` +
      `backend ${backend.name} (${backend.instructionSet})`,
  )
  if (sharing && sharing !== 'padded') {
    printLine(SHARING[sharing])
  }
  for (const contrast of result.contrastNames) {
    const ranked = byEvidence(result, contrast)
    printLine()
    const { terms, skipped } = ranked[0]
    const left = skipped > 0 ? ` (${skipped} queries without a positive or a negative key left out)` : ''
    const tested = ranked[0].test
    const order = tested ? 'by evidence' : 'by the mean score that positive keys gain'
    printLine(
      `${contrast}: ${counted(terms, 'term')}${left}${tested ? `, ${counted(tested.units, 'unit')}` : ''}; heads ${order}`,
    )
    const shown = ranked.slice(0, SHOWN_HEADS)
    if (tested) {
      printTests(shown)
    } else {
      printRanks(shown)
    }
    if (ranked.length > SHOWN_HEADS) {
      printLine(`… and ${ranked.length - SHOWN_HEADS} more`)
    }
  }
  printDiscoveries(result)
  printLine()
  printLine(`saved ${out}`)
}

type Row = ReturnType<typeof strongestHeads>[number]

const values = (s: Float64Array) =>
  Array.from(s.slice(0, 5), (value) => value.toPrecision(3)).join('  ') + (s.length > 5 ? '  …' : '')

function printRanks(rows: readonly Row[]): void {
  printTable(
    ['head', 'score gap', 'rank', '‖ΔC‖', 'singular values'],
    rows.map(({ head, scoreGap, rank, totalEnergy, s }) => [
      head,
      fixed(scoreGap, 3),
      `${rank}`,
      Math.sqrt(totalEnergy).toPrecision(4),
      values(s),
    ]),
  )
}

/** Prints ranks beside their evidence, and blocks of components that the data cannot separate. */
function printTests(rows: readonly Row[]): void {
  printTable(
    ['head', 'rank', 'p effect', 'interaction', 'q', 'replicated', 'score gap', 'blocks', 'singular values'],
    rows.map(({ head, scoreGap, rank, s, test }) => {
      const { p, q, replication, blocks, unresolvedNeeds } = test!
      const shown = (value: number | null) => (value === null ? '' : value.toPrecision(2))
      return [
        head,
        `${rank}`,
        shown(p.effect),
        shown(p.interaction),
        unresolvedNeeds ? `needs ${counted(unresolvedNeeds, 'draw')}` : q.toPrecision(2),
        replication?.replicated ? `${fixed(replication.ratio, 2)} ± ${fixed(replication.error, 2)}` : 'no',
        fixed(scoreGap, 3),
        blocks.map((block) => block.length).join(' + '),
        values(s),
      ]
    }),
  )
}

/** Prints the findings of the tests over all heads and contrasts. */
function printDiscoveries(result: Result): void {
  const tests = result.headNames.flatMap((head) =>
    result.contrastNames.flatMap((name) => result.head(head).contrast(name).test ?? []),
  )
  if (tests.length === 0) {
    return
  }
  const found = tests.filter(({ discovered }) => discovered)
  const replicated = found.filter(({ replication }) => replication?.replicated)
  const { rank } = result.info
  const alpha = rank.rule === 'permutation' ? (rank.alpha ?? 0.05) : 0.05
  const constant = found.filter(({ p }) => p.interaction !== null && p.interaction > alpha)
  printLine()
  printLine(
    `${found.length} of ${tests.length} heads and contrasts discovered at a false discovery rate of ${alpha}, ` +
      `${replicated.length} of them replicated between halves of the prompts; the rank of the others is 0`,
  )
  if (constant.length > 0) {
    printLine(
      `${constant.length} of the discovered show no interaction: a mean query and keys that differ by a constant, ` +
        'as other tokens do, explain them; --center tests what depends on both',
    )
  }
}

/** Discovered heads first (replicated ones before others), then by p. Without a test as `strongestHeads`. */
function byEvidence(result: Result, contrast: string): Row[] {
  const rows = strongestHeads(result, contrast)
  const weight = ({ test }: Row) => (test?.discovered ? (test.replication?.replicated ? 2 : 1) : 0)
  return rows.sort((a, b) => {
    return weight(b) - weight(a) || (a.test?.q ?? 0) - (b.test?.q ?? 0) || b.scoreGap - a.scoreGap
  })
}

/** Heads in descending order of the contrast's score gap. */
export function strongestHeads(result: Result, contrast: string) {
  return result.headNames
    .map((head) => ({ head, ...result.head(head).contrast(contrast) }))
    .sort((a, b) => b.scoreGap - a.scoreGap)
}
