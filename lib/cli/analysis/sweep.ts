/** `qkspace sweep`: tests every head for all contrasts, and names the roles of heads. */

import type { Command } from 'commander'
import type { BackendChoice } from '../../backend/select.js'
import type { PromptSet } from '../../contrast/prompt-set.js'
import { shardName } from '../../covariance/shard.js'
import { QkError } from '../../errors.js'
import { LEAST_ATTENTION } from '../../intervention/edit-table.js'
import type { Model } from '../../model/model.js'
import { type SaveSweep, sweepOutput } from '../../report/sweep-output.js'
import type { Controlled } from '../../store/held-out.js'
import { SAVE_FORMATS } from '../../store/saving/formats.js'
import { ROLES, type Role } from '../../sweep/roles/role-terms.js'
import type { SweepRow } from '../../sweep/rows.js'
import { type SweepOptions, type SweepStage, sweep } from '../../sweep/sweep.js'
import type { SweepResult } from '../../sweep/sweep-result.js'
import { counted } from '../../validate.js'
import { addModelOptions, type ModelOptions, openNamed } from '../common/model-options.js'
import {
  BACKENDS,
  parseBackend,
  parseControls,
  parseHeadNames,
  parseNames,
  parseNumber,
  parseWhole,
} from '../common/options.js'
import { fixed, printJson, printLine, printTable, printWarnings, progressBar } from '../common/output.js'
import { promptSetOf } from '../common/prompt-options.js'
import { addScaleOptions, type ScaleOptions, withCheckpoint } from '../common/scale-options.js'
import { asUsage } from '../common/usage.js'

/** What the options of `addSweepOptions` say. */
export interface SweepSettings {
  roles?: boolean | string[]
  roleFactor?: number
  roleAttention?: number
  heads: string
  alpha: number
  center?: boolean
  nulls: number
  heldOut: number
  sequences: number
  length: number
  backend: BackendChoice
  nullMemory: number
  seed: number
  batchSize: number
}

interface Options extends ModelOptions, ScaleOptions, SweepSettings {
  model: string
  prompts?: string
  out?: string
  json?: boolean
}

export function registerSweep(program: Command): void {
  const command = program.command('sweep').description('test every head, and say what the discovered ones do')
  addScaleOptions(
    addModelOptions(command, {
      tokenizer: 'tokenizer.json, for text and to know delimiters (default: that beside the model)',
    }),
  ).option(
    '--prompts <file>',
    'prompt set, JSONL, or - for standard input; with --roles also plain texts, or none: random tokens',
  )
  addSweepOptions(command)
    .option(
      '--out <path>',
      'a folder for sweep.json, sweep.csv, sweep.safetensors and sweep.html, or one file, by its ending',
    )
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      `
Endings of a file: ${SAVE_FORMATS.map((format) => `.${format}`).join(', ')}.

Examples:
  qkspace sweep --model model.onnx --tokenizer tokenizer.json --prompts boxes.jsonl --out found
  qkspace sweep --model model.onnx --roles --out roles.parquet`,
    )
    .action(run)
}

/** The options that say what is computed. */
export function addSweepOptions(command: Command): Command {
  return command
    .option('--roles [names]', `contrasts made of the prompts' own tokens: ${ROLES.join(', ')}`, parseNames)
    .option(
      '--role-factor <x>',
      'attention on a positive key over that on a negative one, at least (4)',
      parseNumber,
    )
    .option('--role-attention <x>', 'attention on all positive keys of a query, at least (0.25)', parseNumber)
    .option('--heads <heads>', 'all, or names as in L0H1,L2H3', parseHeadNames, 'all')
    .option('--alpha <level>', 'false discovery rate over all heads and contrasts', parseNumber, 0.05)
    .option('--center', 'test the interaction: what depends on the query and on the key')
    .option('--nulls <n>', 'subspaces of exchanged prompts beside every subspace', parseControls, 20)
    .option('--held-out <n>', 'units of a contrast that are measured again; 0 for none', parseWhole(0), 96)
    .option('--sequences <n>', 'random sequences, without --prompts', parseWhole(1), 256)
    .option('--length <n>', 'tokens in each', parseWhole(1), 48)
    .option('--backend <name>', BACKENDS, parseBackend, 'auto' as const)
    .option('--null-memory <MiB>', 'memory for the rows that the test needs', parseWhole(0), 1024)
    .option('--seed <n>', 'seed of whatever is drawn', parseWhole(0), 0)
    .option('--batch-size <n>', 'prompts that go through the model together', parseWhole(1), 16)
}

async function run(options: Options): Promise<void> {
  const { prompts: file, out } = options
  const settings = sweepSettings(options, file)
  if (options.shard) {
    await saveShard(options, settings)
    return
  }
  const save = out === undefined ? undefined : await asUsage(sweepOutput(out))
  await withCheckpoint(options, async (checkpoint) => {
    const prompts =
      file === undefined ? undefined : await promptSetOf(file, { bare: settings.roles !== false })
    const model = await openNamed(options.model, options)
    const bars = new StageBars()
    const found = await sweep(model, prompts, {
      ...settings,
      checkpoint,
      onProgress: ({ stage, done, total }) => bars.update(stage, done, total),
    }).finally(() => bars.stop())
    await tell(found, save, options.json)
  })
}

/** Options for the library. */
export function sweepSettings(options: SweepSettings, prompts: string | undefined): SweepOptions {
  const { roles: asked } = options
  const roles = Array.isArray(asked) ? (asked as Role[]) : (asked ?? false)
  if (prompts === undefined && roles === false) {
    throw new QkError('ERR_USAGE', 'sweep needs --prompts, or --roles for what heads do with any tokens')
  }
  const { heads, alpha, center, nulls, heldOut, sequences, length, backend, seed, batchSize } = options
  const { roleFactor, roleAttention } = options
  return {
    roles,
    heads,
    alpha,
    center,
    nulls,
    heldOut,
    sequences,
    length,
    backend,
    seed,
    batchSize,
    roleFactor,
    roleAttention,
    nullBytes: options.nullMemory * 2 ** 20,
  }
}

async function saveShard(options: Options, settings: SweepOptions): Promise<void> {
  const { prompts: file, out, shard } = options
  if (out === undefined) {
    throw new QkError('ERR_USAGE', '--shard needs --out, a file for its sums')
  }
  const { sweepShard } = await import('../../sweep/shards.js')
  await withCheckpoint(options, async (checkpoint) => {
    const prompts =
      file === undefined ? undefined : await promptSetOf(file, { bare: settings.roles !== false })
    const model = await openNamed(options.model, options)
    const bars = new StageBars()
    const onProgress: SweepOptions['onProgress'] = ({ stage, done, total }) => bars.update(stage, done, total)
    const { nextOf } = await import('../../covariance/saved/next-step.js')
    const next = nextOf('sweep', options, settings)
    await asUsage(
      sweepShard(model, prompts, shard!, out, { ...settings, checkpoint, onProgress }, next),
    ).finally(() => bars.stop())
    printLine(`saved ${out}, shard ${shardName(shard!)}`)
  })
}

/** Merges the shards of a sweep, saves and prints. `out` as for the command. */
export async function finishSweepParts(
  model: Model,
  prompts: PromptSet | undefined,
  files: readonly string[],
  settings: SweepOptions,
  { out, json, draws }: { out: string; json?: boolean; draws?: readonly string[] },
): Promise<void> {
  const save = await asUsage(sweepOutput(out))
  const { mergeSweep } = await import('../../sweep/shards.js')
  const bars = new StageBars()
  const found = await mergeSweep(model, prompts, files, {
    ...settings,
    drawFiles: draws,
    onProgress: ({ stage, done, total }) => bars.update(stage, done, total),
  }).finally(() => bars.stop())
  await tell(found, save, json)
}

async function tell(
  found: SweepResult,
  save: SaveSweep | undefined,
  json: boolean | undefined,
): Promise<void> {
  printWarnings(found.warnings)
  const saved = await save?.(found)
  if (json) {
    printJson(found.toJSON())
    return
  }
  printSweep(found)
  if (saved) {
    printLine(`\nsaved ${saved.join(', ')}`)
  }
}

/** A bar a stage, one after another. */
class StageBars {
  #stage: SweepStage | undefined
  #bar: ReturnType<typeof progressBar> | undefined

  update(stage: SweepStage, done: number, total: number): void {
    if (stage !== this.#stage) {
      this.stop()
      this.#stage = stage
      this.#bar = progressBar(stage)
    }
    this.#bar!.update(done, total)
  }

  stop(): void {
    this.#bar?.stop()
    this.#bar = undefined
  }
}

/** Most rows of the table. Rows with too little attention to matter are only counted. */
const SHOWN = 40

export function printSweep(found: SweepResult): void {
  const { rows, result, roles } = found
  const { prompts, backend, estimator } = result.info
  const discovered = rows.filter((row) => row.discovered)
  const replicated = discovered.filter(({ replication }) => replication?.replicated)
  const { alpha, roleRule, hypothesis } = found.toJSON()
  const contrasts = result.contrastNames.length
  printLine(
    `${counted(prompts.prompts, 'prompt')}, ${counted(result.headNames.length, 'head')}, ${counted(contrasts, 'contrast')}, ` +
      `estimator ${estimator}, backend ${backend.name} (${backend.instructionSet})`,
  )
  printLine()
  const seen = discovered.filter(({ attention }) => !attention || attention.positive >= LEAST_ATTENTION)
  if (seen.length > 0) {
    printRows(seen.slice(0, SHOWN))
  }
  if (seen.length > SHOWN) {
    printLine(`… and ${seen.length - SHOWN} more`)
  }
  const faint = discovered.length - seen.length
  if (faint > 0) {
    printLine(
      `${faint} more are discovered where the positive keys get less than ${percent(LEAST_ATTENTION)} of the attention`,
    )
  }
  const tests = `${counted(rows.length, 'test')} of ${hypothesis === 'effect' ? 'an effect' : 'an interaction'}`
  printLine(
    `${discovered.length} of ${tests} discovered at a false discovery rate of ${alpha}, ${replicated.length} of them ` +
      `replicated between halves of the prompts; not discovered: ${rows.length - discovered.length}`,
  )
  const unresolved = rows.filter((row) => row.unresolvedNeeds !== undefined)
  if (unresolved.length > 0) {
    printLine(`${unresolved.length} unresolved: they need more draws than the limit`)
  }
  printLine()
  printRoles(roles, roleRule)
}

function printRoles(
  roles: SweepResult['roles'],
  { factor, attention }: { factor: number; attention: number },
): void {
  const rule =
    `a discovery, ${fixed(100 * attention, 0)}% of the attention on the positive keys, and ${factor} times as much on one of ` +
    'them as on a negative key'
  const heads = Object.entries(roles)
  if (heads.length === 0) {
    printLine(`no head does what a contrast names: that takes ${rule}`)
    return
  }
  printLine(`what heads do (${rule})`)
  for (const [head, own] of heads) {
    const list = own.map(({ role, attention: part }) => `${role} (${fixed(100 * part, 0)}% of its attention)`)
    printLine(`  ${head}  ${list.join(', ')}`)
  }
}

const percent = (x: number | undefined) => (x === undefined ? '' : `${fixed(100 * x, 1)}%`)

/** A figure with the null's 95th percentile, and a star if random labels do as well. */
function against(controlled: Controlled | null | undefined): string {
  if (!controlled) {
    return ''
  }
  const { value, null: none, exceedsNull } = controlled
  if (none.draws === 0) {
    return `${percent(value)} (no null)`
  }
  return `${percent(value)} (${percent(none.p95)})${exceedsNull === false ? ' *' : ''}`
}

function printRows(rows: readonly SweepRow[]): void {
  printTable(
    [
      'head',
      'contrast',
      'role',
      'attention +',
      '−',
      'rank',
      'p',
      'interaction',
      'q',
      'replicated',
      'explains (null)',
      'moves (null)',
    ],
    rows.map(({ head, contrast, role, attention, rank, p, q, replication, heldOut }) => {
      const shown = (value: number | null) => (value === null ? '' : value.toPrecision(2))
      const moved = heldOut?.swap?.moved
      return [
        head,
        contrast,
        role ? 'yes' : '',
        percent(attention?.positive),
        percent(attention?.negative),
        `${rank}`,
        shown(p.effect),
        shown(p.interaction),
        q.toPrecision(2),
        replication?.replicated ? `${fixed(replication.ratio, 2)} ± ${fixed(replication.error, 2)}` : 'no',
        against(heldOut?.explained),
        moved === null && heldOut?.swap ? 'nothing to move' : against(moved),
      ]
    }),
  )
  printLine(
    'explains, moves: on prompts that did not fit the subspace, beside the 95th percentile of subspaces of exchanged prompts (* not above it)',
  )
}
