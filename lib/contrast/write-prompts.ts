/** Writes prompts as JSONL, for files and pipes. Inline tensors go to `.npy` files beside the JSONL. */

import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { QkError } from '../errors.js'
import { checkReplaceable, writeFileAtomically } from '../store/atomic-file.js'
import { isNpy, writeNpy } from '../store/npy.js'
import { checkEnding } from '../store/saving/formats.js'
import { linesOf } from './lines.js'
import type { Prompt, PromptSource, TensorSource } from './prompt.js'
import { promptRules } from './prompt-rules.js'

/** One line of a prompt set, without the line end. Tensors stay inline, as lists of numbers. */
export function promptLine(prompt: Prompt): string {
  return JSON.stringify(prompt, (_, value) =>
    ArrayBuffer.isView(value) ? Array.from(value as never, Number) : value,
  )
}

/**
 * Writes a prompt set for `readPrompts`. Inline tensors are stacked by the name of their input, [rows, ...shape], in
 * `<name of the set>.<input>.npy` beside it (float32 if all are Float32Arrays, otherwise float64), and the set refers
 * to their rows. Every file appears whole or not at all, the set last. Existing files of other kinds are never
 * replaced. Returns the paths written, the set first.
 *
 * Errors: ERR_FILE, ERR_PROMPT for a prompt that could not be read back, ERR_SHAPE if tensors of one input differ in
 * shape.
 */
export async function writePrompts(file: string, prompts: Iterable<Prompt>): Promise<string[]> {
  await checkPromptSetPath(file)
  const stacks = new Map<string, Stack>()
  const lines: string[] = []
  let index = 0
  for (const prompt of prompts) {
    const where = `prompt ${prompt?.id ?? index}`
    promptRules(prompt, where)
    lines.push(promptLine(withRows(prompt, file, stacks, where)))
    index += 1
  }
  if (index === 0) {
    throw new QkError('ERR_PROMPT', 'there are no prompts to write')
  }
  const folder = path.dirname(file)
  const arrays = [...stacks.values()].map((stack) => ({ ...stack, path: path.join(folder, stack.file) }))
  for (const { path: target } of arrays) {
    await checkReplaceable(target, 'a .npy file', isNpy)
  }
  for (const { path: target, rows, shape } of arrays) {
    await writeNpy(target, joined(rows), [rows.length, ...shape])
  }
  const bytes = function* () {
    for (const line of lines) {
      yield Buffer.from(`${line}\n`)
    }
  }
  await writeFileAtomically(file, bytes())
  return [file, ...arrays.map((array) => array.path)]
}

/**
 * Checks that a prompt set can be written here: the folder exists, and an existing file is a prompt set. Errors:
 * ERR_FILE; ERR_ARGUMENT for an ending that prompt sets do not have.
 */
export async function checkPromptSetPath(file: string): Promise<void> {
  await checkReplaceable(file, 'a prompt set', async () => (await stat(file)).size === 0 || isPromptSet(file))
  checkEnding(file, 'a prompt set', ['.jsonl', '.ndjson'])
}

const LONGEST_FIRST_LINE = 1 << 24

/** Whether the first line is a prompt. */
async function isPromptSet(file: string): Promise<boolean> {
  const input = createReadStream(file, { end: LONGEST_FIRST_LINE })
  try {
    for await (const line of linesOf(input, file)) {
      if (line.trim() === '') {
        continue
      }
      promptRules(JSON.parse(line), file)
      return true
    }
    return false
  } catch {
    return false
  } finally {
    input.destroy()
  }
}

/** The stacked tensors of one input, which become one file. */
interface Stack {
  file: string
  shape: readonly number[]
  rows: ArrayLike<number>[]
}

/** The prompt with every inline tensor replaced by a row of a file. */
function withRows(prompt: Prompt, set: string, stacks: Map<string, Stack>, where: string): Prompt {
  const store = <S extends PromptSource>(source: S): S => {
    if (source.inputs === undefined) {
      return source
    }
    const inputs = Object.entries(source.inputs).map(([name, tensor]): [string, TensorSource] => {
      if ('npy' in tensor) {
        return [name, tensor]
      }
      const stack = stacks.get(name) ?? { file: arrayName(set, name, stacks), shape: tensor.shape, rows: [] }
      stacks.set(name, stack)
      if (`${tensor.shape}` !== `${stack.shape}`) {
        throw new QkError(
          'ERR_SHAPE',
          `${where}: "${name}" is [${tensor.shape}], and [${stack.shape}] in earlier prompts: they go in one file`,
        )
      }
      const { data } = tensor
      stack.rows.push(data instanceof BigInt64Array ? Array.from(data, Number) : data)
      return [name, { npy: stack.file, row: stack.rows.length - 1 }]
    })
    return { ...source, inputs: Object.fromEntries(inputs) }
  }
  const { counterfactual } = prompt
  return { ...store(prompt), ...(counterfactual && { counterfactual: store(counterfactual) }) }
}

/** A unique file name for every input. */
function arrayName(set: string, input: string, stacks: Map<string, Stack>): string {
  const stem = `${path.basename(set, path.extname(set))}.${input.replace(/[^\w.-]/g, '_')}`
  const taken = new Set([...stacks.values()].map(({ file }) => file))
  for (let n = 1; ; n++) {
    const name = `${stem}${n === 1 ? '' : `-${n}`}.npy`
    if (!taken.has(name)) {
      return name
    }
  }
}

function joined(rows: readonly ArrayLike<number>[]): Float32Array | Float64Array {
  const size = rows[0].length
  const single = rows.every((row) => row instanceof Float32Array)
  const all = new (single ? Float32Array : Float64Array)(rows.length * size)
  rows.forEach((row, i) => {
    all.set(row, i * size)
  })
  return all
}
