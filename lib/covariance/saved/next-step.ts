/** Instructions in the file of a shard for the step after all shards are done: the command, and its options. */

import path from 'node:path'
import { isHubId } from '../../model/hub/hub-id.js'
import type { ModelDtype } from '../../model/source/dtypes.js'
import * as s from '../../store/reading/schema.js'

/** How a model is opened besides its name. */
export interface NamedModelOptions {
  tokenizer?: string | false
  dtype?: ModelDtype
  file?: string
  size?: Record<string, number>
}

/** Paths are absolute, so that they are valid in other folders too. */
export interface NextStep {
  command: 'decompose' | 'sweep'
  model: string
  modelOptions: NamedModelOptions
  /** Undefined without prompts, `-` if they came from standard input. */
  prompts?: string
  /** The options of the command that apply after the capture. */
  settings: object
  /** Of a shard that a cluster made: the run that it belongs to (lib/cluster/run-spec.ts). */
  run?: string
}

const schema = s.fields({
  command: s.oneOf('decompose', 'sweep'),
  model: s.text,
  modelOptions: s.anyObject,
  prompts: s.optional(s.text),
  settings: s.anyObject,
  run: s.optional(s.text),
} satisfies s.Fields<NextStep>)

export function nextOf(
  command: NextStep['command'],
  options: NamedModelOptions & { model: string; prompts?: string },
  settings: object,
): NextStep {
  const { model, prompts, tokenizer, dtype, file, size } = options
  const whole = (name: string) => path.resolve(name)
  return {
    command,
    model: isHubId(model) ? model : whole(model),
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

/** Errors: ERR_FORMAT if the file was saved by a script, without instructions. */
export function readNext(file: string, next: unknown): NextStep {
  const misfit = s.misfitOf(file, 'It was saved by a script: put the parts together with mergeSums.')
  s.checkDocument(schema, next ?? {}, (place, problem) => misfit(`next.${place}`, problem))
  return next as NextStep
}
