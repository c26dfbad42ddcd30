/** `qkspace inspect`: the attention sites of a model. */

import type { Command } from 'commander'
import { describeSite, describeUnsupported, type Model } from '../../model/model.js'
import type { AttentionSite } from '../../model/sites/site.js'
import { counted } from '../../validate.js'
import { examples } from '../common/examples.js'
import { addFileOptions, MODEL_HELP, type ModelOptions, openNamed } from '../common/model-options.js'
import { printJson, printLine, printTable } from '../common/output.js'

interface Options extends ModelOptions {
  json?: boolean
  isolate: boolean
}

export function registerInspect(program: Command): void {
  const command = program
    .command('inspect')
    .description('list the attention sites of a model, each verified on a synthetic batch')
    .argument('<model>', MODEL_HELP)
  addFileOptions(command)
    .option('--no-isolate', 'open the file in this process alone: faster, but it may crash')
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      examples('qkspace inspect model.onnx', 'qkspace inspect my-model --dtype fp32 --json'),
    )
    .action(async (named: string, { json, isolate, ...options }: Options) => {
      const model = await openNamed(named, options, { isolate })
      if (json) {
        const { path, hub, tokenizer, sites, unsupported, notes } = model
        const found = { ...(hub && { hub }), ...(tokenizer && { tokenizer: tokenizer.path }) }
        printJson({ model: path, ...found, sites: sites.map(describeSite), unsupported, notes })
      } else {
        printSites(model)
      }
    })
}

function printSites(model: Model): void {
  printLine(`${model.path}: ${counted(model.sites.length, 'attention site')}`)
  printLine()
  printTable(
    ['site', 'op', 'heads', 'key heads', 'head dim', 'scale', 'causal', 'rotary', 'cross', 'relative error'],
    model.sites.map((site) => [
      siteName(site),
      site.op,
      `${site.heads}`,
      `${site.kvHeads}`,
      `${site.headDim}`,
      typeof site.scale === 'number' ? site.scale.toPrecision(4) : site.scale,
      site.causal ? 'yes' : 'no',
      site.rotary ? 'yes' : 'no',
      site.cross ? 'yes' : 'no',
      site.relativeError.toExponential(1),
    ]),
  )
  for (const site of model.sites.filter(({ altered }) => altered)) {
    printLine()
    printLine(
      `${siteName(site)}: its scores are rounded or clipped before the softmax by ${site.altered!.join(', ')}`,
    )
  }
  const partly = model.sites.filter(({ uncovered }) => uncovered)
  if (partly.length > 0) {
    printLine()
    printLine('Not covered by q·k, though it depends on queries or keys:')
    for (const site of partly) {
      printLine(`  ${siteName(site)}: what is added by ${site.uncovered!.join(', ')}`)
    }
  }
  if (model.unsupported.length > 0) {
    printLine()
    printLine('Not captured:')
    for (const site of model.unsupported) {
      printLine(`  ${describeUnsupported(site)}`)
    }
  }
  if (model.notes.length > 0) {
    printLine()
    printLine('Of the graph:')
    for (const note of model.notes) {
      printLine(`  ${note}`)
    }
  }
}

const siteName = ({ kind, layer }: AttentionSite) => `${kind ? `${kind}.` : ''}L${layer}`
