/** `qkspace cite`: a paragraph for a methods section on how a result was made, and its references. */

import type { Command } from 'commander'
import { cite } from '../../citation/cite.js'
import { printJson, printLine } from '../common/output.js'

export function registerCite(program: Command): void {
  program
    .command('cite')
    .description('print a methods paragraph with the exact settings of a result, and what to cite')
    .argument('<result>', 'what `decompose` or `sweep` saved: .safetensors, .npz or .json')
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      `
Every figure is the file's own; what the file does not say is named.

Example:
  qkspace cite boxes.safetensors`,
    )
    .action(run)
}

async function run(file: string, { json }: { json?: boolean }): Promise<void> {
  const citation = await cite(file)
  if (json) {
    printJson({ file, ...citation })
    return
  }
  const { paragraph, bibtex } = citation
  printLine([paragraph, bibtex.paper, bibtex.software].join('\n\n'))
}
