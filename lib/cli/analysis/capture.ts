/** `qkspace capture`: queries, keys, scores and patterns of prompts, in a file. */

import type { Command } from 'commander'
import { capture } from '../../capture/one-prompt/capture.js'
import { type CapturedPrompt, captureMany } from '../../capture/one-prompt/capture-many.js'
import { type CaptureInfo, checkCapturePath, writeCaptures } from '../../capture/one-prompt/write-captures.js'
import type { Model } from '../../model/model.js'
import { counted } from '../../validate.js'
import { examples } from '../common/examples.js'
import { addModelOptions, type ModelOptions, openNamed } from '../common/model-options.js'
import { parseHeadNames } from '../common/options.js'
import { printJson, printLine, printTable, progressBar } from '../common/output.js'
import { addPromptOptions, checkPromptFor, type PromptOptions, promptsOf } from '../common/prompt-options.js'
import { asUsage } from '../common/usage.js'

interface Options extends ModelOptions, PromptOptions {
  model: string
  heads: string
  scores?: boolean
  pattern?: boolean
  out: string
  json?: boolean
}

export function registerCapture(program: Command): void {
  const command = program
    .command('capture')
    .description('write queries and keys of prompts, verified against the scores of the model')
  addPromptOptions(addModelOptions(command))
    .option('--heads <heads>', 'all, or names as in L0H1,L2H3', parseHeadNames, 'all')
    .option('--scores', 'also the scores as they enter the softmax')
    .option('--pattern', 'also the pattern that leaves it')
    .requiredOption('--out <file>', 'tensors by TransformerLens names, .safetensors')
    .option('--json', 'print one JSON document')
    .addHelpText(
      'after',
      examples(
        'qkspace capture --model model.onnx --prompt "The hat is in Box A." --scores --pattern --out hat.safetensors',
        'qkspace capture --model model.onnx --prompts held-out.jsonl --heads L3H0,L3H1 --out rows.safetensors',
      ),
    )
    .action(run)
}

async function run(options: Options): Promise<void> {
  const { out, json } = options
  const prompts = await promptsOf(options)
  await asUsage(checkCapturePath(out))
  const total = 'summary' in prompts ? (await prompts.summary()).prompts : 1
  const model = await openNamed(options.model, options)
  checkPromptFor(model, options)
  const bar = progressBar('prompts')
  const shapes = new Map<string, string>()
  async function* captured(): AsyncGenerator<CapturedPrompt> {
    let done = 0
    for await (const one of capturesOf(model, prompts, options)) {
      for (const [name, { shape, dtype }] of Object.entries(one.activations)) {
        if (done === 0) {
          shapes.set(name, `[${shape.join(', ')}] ${dtype}`)
        }
      }
      yield one
      done += 1
      bar.update(done, total)
    }
  }
  const info = await writeCaptures(out, model, captured()).finally(() => bar.stop())
  if (json) {
    printJson({ ...info, saved: out })
    return
  }
  printCaptures(info, shapes)
  printLine(`\nsaved ${out}`)
}

async function* capturesOf(
  model: Model,
  prompts: Awaited<ReturnType<typeof promptsOf>>,
  { heads, scores, pattern }: Options,
): AsyncGenerator<CapturedPrompt> {
  const what = { heads, scores, pattern }
  if ('summary' in prompts) {
    yield* captureMany(model, prompts, what)
  } else {
    yield { where: 'the prompt', prompt: prompts, ...(await capture(model, prompts, what)) }
  }
}

function printCaptures({ prompts }: CaptureInfo, shapes: ReadonlyMap<string, string>): void {
  const [{ prefix, tokens }] = prompts
  printLine(
    prompts.length === 1
      ? `1 prompt${tokens ? ` of ${counted(tokens.length, 'token')}` : ''}`
      : `${counted(prompts.length, 'prompt')}; the tensors of the first:`,
  )
  printTable(
    ['tensor', 'shape'],
    [...shapes].map(([name, shape]) => [`${prefix}${name}`, shape]),
  )
  const errors = prompts.flatMap(({ relativeErrors }) => relativeErrors)
  const worst = Math.max(...errors)
  printLine(
    `\nscores recomputed from them differ from those of the model by ${worst.toExponential(1)} at most`,
  )
}
