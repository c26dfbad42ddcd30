/** `qkspace merge`: from the sums of all shards to what one pass would have given. */

import type { Command } from 'commander'
import type { BackendChoice } from '../../backend/select.js'
import { mergeSums, readPart } from '../../covariance/saved/parts.js'
import { QkError } from '../../errors.js'
import { checkResultPath } from '../../store/result.js'
import type { SweepOptions } from '../../sweep/sweep.js'
import { type DecomposeSettings, finishDecompose } from '../analysis/decompose.js'
import { finishSweepParts } from '../analysis/sweep.js'
import { addModelOptions, type ModelOptions, openNamed } from '../common/model-options.js'
import { readNext } from '../common/next-step.js'
import { parseBackend } from '../common/options.js'
import { promptSetOf } from '../common/prompt-options.js'
import { asUsage } from '../common/usage.js'

interface Options extends ModelOptions {
  model?: string
  prompts?: string
  backend: BackendChoice
  out: string
  json?: boolean
}

export function registerMerge(program: Command): void {
  const command = program
    .command('merge')
    .description('put the sums of all shards together, and go on as the command that made them')
    .argument('<parts...>', 'files of decompose --shard or sweep --shard, in any order')
  addModelOptions(command, { required: false, model: 'model (default: where the shards had it)' })
    .option('--prompts <file>', 'prompt set of a sweep (default: where the shards had it)')
    .option('--backend <name>', 'auto, cpu, cuda or js; cuda:1 for a device', parseBackend, 'auto' as const)
    .requiredOption('--out <path>', 'where the result goes, as with the command of the shards')
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      `
Shards that are missing, there twice, or of another run are refused with the list.

Example:
  qkspace merge 1.safetensors 2.safetensors --out boxes.safetensors`,
    )
    .action(run)
}

async function run(parts: string[], options: Options): Promise<void> {
  const { next: saved } = await readPart(parts[0])
  const next = readNext(parts[0], saved)
  const given = { tokenizer: options.tokenizer, dtype: options.dtype, file: options.file, size: options.size }
  const model = await openNamed(options.model ?? next.model, { ...next.modelOptions, ...defined(given) })
  if (next.command === 'decompose') {
    await asUsage(checkResultPath(options.out))
    const sums = await mergeSums(model, parts, { backend: options.backend })
    await finishDecompose(sums, next.settings as DecomposeSettings, options)
    return
  }
  const file = options.prompts ?? next.prompts
  if (file === '-' && options.prompts === undefined) {
    throw new QkError(
      'ERR_USAGE',
      'the prompts of the shards came by standard input: give them with --prompts',
    )
  }
  const settings = { ...next.settings, backend: options.backend } as SweepOptions
  const bare = settings.roles !== false
  const prompts = file === undefined ? undefined : await promptSetOf(file, { bare })
  await finishSweepParts(model, prompts, parts, settings, options)
}

const defined = <T extends object>(values: T): Partial<T> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>
