/** What the file of a shard says of how to go on when all shards are there: the command, and its options. */

import path from 'node:path'
import * as s from '../../store/reading/schema.js'
import type { ModelOptions } from './model-options.js'

/** Whole paths, so that they hold in other folders too. */
export interface NextStep {
  command: 'decompose' | 'sweep'
  model: string
  modelOptions: ModelOptions
  /** Undefined where there are none, `-` where they came by standard input. */
  prompts?: string
  /** The options of the command that matter after the capture. */
  settings: object
}

const schema = s.fields({
  command: s.oneOf('decompose', 'sweep'),
  model: s.text,
  modelOptions: s.anyObject,
  prompts: s.optional(s.text),
  settings: s.anyObject,
} satisfies s.Fields<NextStep>)

export function nextOf(
  command: NextStep['command'],
  options: ModelOptions & { model: string; prompts?: string },
  settings: object,
): NextStep {
  const { model, prompts, tokenizer, dtype, file, size } = options
  const whole = (name: string) => path.resolve(name)
  return {
    command,
    model: model.startsWith('hf:') ? model : whole(model),
    modelOptions: {
      tokenizer: typeof tokenizer === 'string' ? whole(tokenizer) : tokenizer,
      dtype,
      file,
      size,
    },
    ...(prompts !== undefined && { prompts: prompts === '-' ? prompts : whole(prompts) }),
    settings,
  }
}

/** Errors: ERR_FORMAT where the file was saved by a script, and says none. */
export function readNext(file: string, next: unknown): NextStep {
  const misfit = s.misfitOf(file, 'It was saved by a script: put the parts together with mergeSums.')
  s.checkDocument(schema, next ?? {}, (place, problem) => misfit(`next.${place}`, problem))
  return next as NextStep
}
