/** `qkspace merge`: merges the sums of all shards into the result of a single pass. */

import { type Command, Option } from 'commander'
import { addModelOptions } from '../common/model-options.js'
import { BACKENDS, parseBackend } from '../common/options.js'
import { parseShard } from '../common/scale-options.js'
import type { MergeCommandOptions } from './merge-parts.js'

export function registerMerge(program: Command): void {
  const command = program
    .command('merge')
    .description('put the sums of all shards together, and go on as the command that made them')
    .argument('<parts...>', 'files of decompose --shard or sweep --shard, in any order')
  addModelOptions(command, { required: false, model: 'model (default: where the shards had it)' })
    .option('--prompts <file>', 'prompt set of a sweep (default: where the shards had it)')
    .option('--backend <name>', BACKENDS, parseBackend, 'auto' as const)
    .addOption(
      new Option(
        '--draw-shard <i/n>',
        'only draw for every n-th head group and contrast, and save the draws for --draws',
      ).argParser(parseShard),
    )
    .option('--draws <files...>', 'draws of --draw-shard; others are drawn here')
    .requiredOption('--out <path>', 'where the result goes, as with the command of the shards')
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      `
Shards that are missing, there twice, or of another run are refused with the list.

Example:
  qkspace merge 1.safetensors 2.safetensors --out merged.safetensors`,
    )
    .action(async (parts: string[], options: MergeCommandOptions) => {
      const { mergeParts } = await import('./merge-parts.js')
      await mergeParts(parts, options)
    })
}
