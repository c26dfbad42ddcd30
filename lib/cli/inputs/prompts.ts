/** `qkspace prompts`: the paper's prompt families as JSONL. The check of a set is in another file. */

import { existsSync } from 'node:fs'
import path from 'node:path'
import { type Command, Option } from 'commander'
import { bundledWords } from '../../bundled/files.js'
import { readTokenizerConfig } from '../../contrast/chat-template.js'
import {
  type BoxesOptions,
  type BoxesQuestion,
  boxesLexical,
  boxesOrder,
  boxesUnused,
} from '../../contrast/families/boxes.js'
import { type CategorySelect, categoryPrompts } from '../../contrast/families/categories.js'
import type { Prompt } from '../../contrast/prompt.js'
import { withChatTemplate } from '../../contrast/templated-prompts.js'
import { checkTokenPositions } from '../../contrast/token-positions.js'
import { checkPromptSetPath, promptLine, writePrompts } from '../../contrast/write-prompts.js'
import { QkError } from '../../errors.js'
import { resolveTokenizerConfig } from '../../model/source/resolve-source.js'
import { loadTokenizer } from '../../model/tokenizer/tokenizer.js'
import { readToyConfig } from '../../toy/export.js'
import { type PayloadOptions, payloadPrompts } from '../../toy/prompts.js'
import { counted } from '../../validate.js'
import { examples } from '../common/examples.js'
import { openNamed } from '../common/model-options.js'
import { parseNames, parseSeed, parseSize, parseTask, parseWhole } from '../common/options.js'
import { printJson, printLine, printTable } from '../common/output.js'
import { asUsage } from '../common/usage.js'
import { registerPromptsCheck } from './prompts-check.js'
import { readCategories, readWordList } from './word-lists.js'

interface OutputOptions {
  prompts: number
  seed: number
  out?: string
  json?: boolean
}

interface TextOptions extends OutputOptions {
  asked?: string[]
  chatTemplate?: string
  tokenizer?: string
  system?: string
  prefill?: string
}

interface CategoriesCommand extends TextOptions {
  categories?: string
  select: CategorySelect
  items: number
  matching?: number
  template?: string
}

const VARIANTS = {
  order: boxesOrder,
  lexical: (options: BoxesOptions) => boxesLexical(options),
  unused: (options: BoxesOptions) => boxesUnused(options),
} as const

interface BoxesCommand extends TextOptions {
  objects?: string
  boxes?: string
  pairs: number
  variant: keyof typeof VARIANTS | 'all'
  question: BoxesQuestion
}

interface PayloadCommand extends OutputOptions {
  model?: string
  task?: 1 | 2
  r1?: number
  r2?: number
  toySeed?: number
  pairs: number
}

export function registerPrompts(program: Command): void {
  const prompts = program
    .command('prompts')
    .description('write a prompt set of one of the families, as JSONL, or check one')

  const payload = prompts
    .command('payload')
    .description('payload retrieval: inputs of a toy model whose two latents are contrasted')
    .option(
      '--model <model>',
      'toy model (.onnx file, folder or hf: id) whose configuration is in its file; or:',
    )
    .option('--task <n>', '1: latents of -1 and +1; 2: standard normal latents', parseTask)
    .option('--r1 <n>', 'size of the first latent', parseSize)
    .option('--r2 <n>', 'size of the second latent', parseSize)
    .option('--toy-seed <n>', 'seed of the toy model, which fixes its encoders (default: 1)', parseSeed)
    .option('--pairs <n>', 'pairs of keys a contrast, a quarter of the tokens', parseWhole(1), 4)
  outputOptions(payload)
    .addHelpText(
      'after',
      examples(
        'qkspace prompts payload --model lib/bundled/toys/toy-task1-r3-r3-d16.onnx --prompts 50 --out payload.jsonl',
      ),
    )
    .action(runPayload)

  const categories = prompts
    .command('categories')
    .description('a list of words of several categories, and a question for one category')
    .option('--categories <file>', 'word lists by category, JSON (default: the bundled words)')
    .addOption(
      new Option('--select <which>', 'what is asked for').choices(['all', 'first', 'last']).default('all'),
    )
    .option('--items <n>', 'items of a list', parseWhole(2), 6)
    .option(
      '--matching <n>',
      'items of the category that is asked for (default: 1, with first or last 2)',
      parseWhole(1),
    )
    .option('--template <text>', 'wording, with {items}, {category} and {article}; \\n is a new line')
  textOptions(categories, 'categories that are asked for')
    .addHelpText('after', examples('qkspace prompts categories --prompts 200 --out categories.jsonl'))
    .action(runCategories)

  const boxes = prompts
    .command('boxes')
    .description('objects in boxes, and a question for one of them')
    .option('--objects <file>', 'words, JSON or one a line (default: the bundled words)')
    .option('--boxes <file>', 'names of boxes, JSON or one a line (default: capital letters)')
    .option('--pairs <n>', 'objects in a prompt', parseWhole(2), 5)
    .addOption(
      new Option('--variant <name>', 'contrast; all: the three on the same lists')
        .choices([...Object.keys(VARIANTS), 'all'])
        .default('all'),
    )
    .addOption(
      new Option('--question <direction>', 'direction of the question')
        .choices(['box-of-object', 'object-of-box'])
        .default('box-of-object'),
    )
  textOptions(boxes, 'words that are asked about')
    .addHelpText('after', examples('qkspace prompts boxes --variant order --prompts 200 --out boxes.jsonl'))
    .action(runBoxes)
  registerPromptsCheck(prompts)
}

function outputOptions(command: Command): Command {
  return command
    .option('--prompts <n>', 'number of prompts (of each variant)', parseWhole(1), 500)
    .option('--seed <n>', 'seed of the prompts', parseSeed, 0)
    .option('--out <file>', 'prompt set, JSONL; standard output when absent')
    .option('--json', 'print a summary as one JSON document (with --out)')
}

function textOptions(command: Command, asked: string): Command {
  return outputOptions(
    command
      .option('--asked <words>', `${asked}, with commas (default: all)`, parseNames)
      .option(
        '--chat-template <file>',
        'tokenizer_config.json, or a folder or hf: id with one; puts every text into a chat',
      )
      .option('--tokenizer <file>', 'tokenizer.json; checks that every position is a token of its own')
      .option('--system <text>', "the system's message of the chat")
      .option('--prefill <text>', 'end of every text that begins the answer, as in Box'),
  )
}

async function runPayload(options: PayloadCommand): Promise<void> {
  const { model, task, r1, r2, toySeed } = options
  const { prompts, seed, pairs } = options
  const described = [task, r1, r2, toySeed].some((value) => value !== undefined)
  if (model !== undefined && described) {
    throw usage('--model already says --task, --r1, --r2 and --toy-seed', 'Give one or the other.')
  }
  if (model === undefined && (task === undefined || r1 === undefined || r2 === undefined)) {
    throw usage('payload needs --model, or --task, --r1 and --r2')
  }
  await checkOutput(options)
  const common = { prompts, seed, pairs }
  let toy: PayloadOptions
  if (model === undefined) {
    toy = { task: task!, r1: r1!, r2: r2!, toySeed, ...common }
  } else {
    const { seed: modelSeed, ...config } = readToyConfig(await openNamed(model, {}))
    toy = { ...config, toySeed: modelSeed, ...common }
  }
  await deliver('payload', await make(() => payloadPrompts(toy)), options)
}

async function runCategories(options: CategoriesCommand): Promise<void> {
  await checkText(options)
  const { select, items, matching, prompts, seed, asked } = options
  const categories = options.categories ? readCategories(options.categories) : bundledWords().categories
  const template = options.template?.replaceAll('\\n', '\n')
  const set = await make(() =>
    categoryPrompts({ categories, select, items, matching, prompts, seed, asked, template }),
  )
  await deliver('categories', await inChat(set, options), options)
}

async function runBoxes(options: BoxesCommand): Promise<void> {
  await checkText(options)
  const { pairs, prompts, seed, question, asked, variant } = options
  const words = bundledWords()
  const objects = options.objects ? readWordList(options.objects, 'objects') : words.objects
  const boxes = options.boxes ? readWordList(options.boxes, 'boxes') : words.boxes
  const family = { objects, boxes, pairs, prompts, seed, question, asked }
  const chosen = variant === 'all' ? Object.values(VARIANTS) : [VARIANTS[variant]]
  const set = await make(() => chosen.flatMap((of) => of(family)))
  await deliver('boxes', await inChat(set, options), options)
}

function usage(message: string, hint?: string): QkError {
  return new QkError('ERR_USAGE', message, { hint })
}

/** Makes prompts. Options that a family or a chat refuses are bad usage of the command line. */
async function make(prompts: () => Prompt[] | Promise<Prompt[]>): Promise<Prompt[]> {
  try {
    return await prompts()
  } catch (error) {
    if (!(error instanceof QkError) || error.code !== 'ERR_ARGUMENT') {
      throw error
    }
    throw new QkError('ERR_USAGE', error.message, { hint: error.hint, cause: error })
  }
}

async function checkOutput({ out, json }: OutputOptions): Promise<void> {
  if (json && out === undefined) {
    throw usage('--json prints a summary, and standard output is taken by the prompts', 'Give --out as well.')
  }
  if (out !== undefined) {
    await asUsage(checkPromptSetPath(out))
  }
}

async function checkText(options: TextOptions): Promise<void> {
  for (const name of ['system', 'prefill'] as const) {
    if (options[name] !== undefined && options.chatTemplate === undefined) {
      throw usage(`--${name} is part of a chat, and there is no --chat-template`)
    }
  }
  await checkOutput(options)
}

/** Turns the prompts into chats if requested, and checks their positions if a tokenizer is given. */
async function inChat(set: Prompt[], options: TextOptions): Promise<Prompt[]> {
  const { system, prefill } = options
  let { tokenizer } = options
  let prompts = set
  if (options.chatTemplate !== undefined) {
    const chatTemplate = await resolveTokenizerConfig(options.chatTemplate)
    const beside = path.join(path.dirname(chatTemplate), 'tokenizer.json')
    if (tokenizer === undefined && existsSync(beside)) {
      tokenizer = beside
    }
    const config = readTokenizerConfig(chatTemplate)
    prompts = await make(() => withChatTemplate(set, config, { tokenizer, system, prefill }))
  }
  if (tokenizer !== undefined) {
    await checkTokenPositions(prompts, await loadTokenizer(tokenizer))
  }
  return prompts
}

/** Writes the prompts, and reports what was written. */
async function deliver(family: string, prompts: Prompt[], options: OutputOptions): Promise<void> {
  const { out, seed, json } = options
  if (out === undefined) {
    for (const prompt of prompts) {
      printLine(promptLine(prompt))
    }
    return
  }
  const files = await writePrompts(out, prompts)
  const contrasts = count(prompts)
  if (json) {
    printJson({ family, prompts: prompts.length, seed, contrasts, files })
    return
  }
  const { text } = prompts[0]
  if (text !== undefined) {
    printLine(`${text}\n`)
  }
  printTable(
    ['contrast', 'prompts'],
    Object.entries(contrasts).map(([name, n]) => [name, `${n}`]),
  )
  printLine(`\nsaved ${files.join(', ')}: ${counted(prompts.length, 'prompt')}`)
}

/** Number of prompts of every contrast. */
function count(prompts: readonly Prompt[]): Record<string, number> {
  const found: Record<string, number> = {}
  for (const { contrast, contrasts } of prompts) {
    for (const name of contrasts ? Object.keys(contrasts) : [contrast!]) {
      found[name] = (found[name] ?? 0) + 1
    }
  }
  return found
}
