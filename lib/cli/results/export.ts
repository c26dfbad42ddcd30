/** `qkspace export`: subspaces of a result as arrays for tools that edit queries and keys in PyTorch. */

import type { Command } from 'commander'
import {
  checkExportPath,
  EXPORT_TARGETS,
  type ExportTarget,
  exportSubspaces,
  writeSubspaces,
} from '../../interchange/export-subspaces.js'
import { loadResult } from '../../store/result.js'
import { parseChoice, parseHeadNames } from '../common/options.js'
import { printJson, printLine, printTable } from '../common/output.js'
import { asUsage } from '../common/usage.js'

interface Options {
  for: ExportTarget
  contrast?: string
  heads: string
  out: string
  json?: boolean
}

export function registerExport(program: Command): void {
  program
    .command('export')
    .description('write the subspaces of a result for TransformerLens, nnsight or pyvene')
    .argument('<result>', 'result of `decompose` or `sweep`, .safetensors')
    .option('--for <tool>', EXPORT_TARGETS.join(', '), parseChoice('tool', EXPORT_TARGETS), EXPORT_TARGETS[0])
    .option('--contrast <name>', 'one contrast; the only one by default')
    .option('--heads <heads>', 'all with a subspace, or names as in L0H1,L2H3', parseHeadNames, 'all')
    .requiredOption('--out <file>', 'arrays, .npz or .safetensors')
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      `
nnsight and pyvene act on the outputs of projections, before queries and keys are rotated by position: layers with such a
rotation can be exported for transformer-lens alone.

Example:
  qkspace export boxes.safetensors --for transformer-lens --contrast order --out order.npz`,
    )
    .action(run)
}

async function run(file: string, { for: tool, contrast, heads, out, json }: Options): Promise<void> {
  await asUsage(checkExportPath(out))
  const result = await loadResult(file)
  const exported = exportSubspaces(result, {
    for: tool,
    ...(contrast !== undefined && { contrast }),
    ...(heads !== 'all' && { heads: heads.split(',').map((name) => name.trim()) }),
  })
  await writeSubspaces(out, exported)
  const arrays = [...exported.arrays].map(([name, { shape }]) => ({ name, shape }))
  if (json) {
    printJson({ ...exported.info, arrays, saved: out })
    return
  }
  printTable(
    ['array', 'shape'],
    arrays.map(({ name, shape }) => [name, `[${shape.join(', ')}]`]),
  )
  printLine(`\nsaved ${out}`)
}
