/** `qkspace toy train`: trains a payload-retrieval model, whose subspaces are known, and writes it as ONNX. */

import type { Command } from 'commander'
import { checkToyPath, exportToy } from '../../toy/export.js'
import { TOY_DEFAULTS, type ToyConfig } from '../../toy/task.js'
import { QUICK_TRAINING, TOY_TRAINING, trainToy } from '../../toy/train.js'
import { counted } from '../../validate.js'
import { examples } from '../common/examples.js'
import { parseSeed, parseSize, parseTask } from '../common/options.js'
import { printJson, printLine, progressBar } from '../common/output.js'
import { asUsage } from '../common/usage.js'

interface Options {
  task: 1 | 2
  r1: number
  r2: number
  dHead: number
  out: string
  seed: number
  quick?: boolean
  json?: boolean
}

export function registerToy(program: Command): void {
  program
    .command('toy')
    .description('toy models whose query-key subspaces are known')
    .command('train')
    .description(
      'train a one-head model to return the payload of the token whose two latents match the query',
    )
    .requiredOption('--r1 <n>', 'size of the first latent', parseSize)
    .requiredOption('--r2 <n>', 'size of the second latent', parseSize)
    .requiredOption('--task <n>', '1: latents of -1 and +1; 2: standard normal latents', parseTask)
    .option('--d-head <n>', 'dimension of queries and keys', parseSize, 16)
    .option('--seed <n>', 'fixes encoders, initial weights and samples', parseSeed, 1)
    .option('--quick', 'a sixth of the steps')
    .requiredOption('--out <file>', 'model, .onnx')
    .option('--json', 'print one JSON document')
    .addHelpText('after', examples('qkspace toy train --r1 3 --r2 3 --quick --out toy.onnx'))
    .action(train)
}

async function train({ task, r1, r2, dHead, seed, quick, out, json }: Options): Promise<void> {
  await asUsage(checkToyPath(out))
  const config: ToyConfig = { ...TOY_DEFAULTS, task, r1, r2, dHead, seed }
  const started = performance.now()
  const bar = progressBar('steps')
  const toy = await trainToy(config, {
    training: quick ? QUICK_TRAINING : TOY_TRAINING,
    onProgress: ({ step, steps }) => bar.update(step, steps),
  }).finally(() => bar.stop())
  await exportToy(out, toy)
  const { steps, loss, accuracy } = toy
  const seconds = (performance.now() - started) / 1000
  if (json) {
    printJson({ out, config, steps, loss, accuracy, seconds })
    return
  }
  printLine(`${counted(steps, 'step')} in ${seconds.toFixed(1)} s`)
  printLine(`on fresh samples: loss ${loss.toPrecision(3)}, ${(100 * accuracy).toFixed(1)}% right`)
  printLine(`saved ${out}`)
}
