/** Options that name a model, and the opening of that model. */

import { type Command, Option } from 'commander'
import { type Model, type OpenOptions, openModel } from '../../model/model.js'
import { MODEL_DTYPES, type ModelDtype } from '../../model/source/dtypes.js'
import { parseAxisSize, parseChoice } from './options.js'
import { printNote, printWarnings, progressBar } from './output.js'

export interface ModelOptions {
  tokenizer?: string | false
  dtype?: ModelDtype
  file?: string
  size?: Record<string, number>
}

/** Description of a model argument. */
export const MODEL_HELP = '.onnx file, folder, or hf:org/name[@revision][/path] of the Hugging Face Hub'

/** Default description of `--tokenizer`. */
const TOKENIZER_HELP = 'tokenizer.json, for prompts given as text (default: that beside the model)'

/** Adds `--model` and its related options; it is required unless `required` is false. */
export function addModelOptions(
  command: Command,
  { required = true, model = MODEL_HELP, tokenizer = TOKENIZER_HELP } = {},
): Command {
  return addFileOptions(
    command.addOption(new Option('--model <model>', model).makeOptionMandatory(required)),
    tokenizer,
  )
}

/** Adds the related options for a model that is an argument. */
export function addFileOptions(command: Command, tokenizer = TOKENIZER_HELP): Command {
  return command
    .option('--tokenizer <file>', tokenizer)
    .option('--no-tokenizer', 'leave a tokenizer beside the model alone')
    .addOption(
      new Option(
        '--dtype <name>',
        `file of a folder by its number type: ${MODEL_DTYPES.join(', ')} (default: fp32, or the only one)`,
      )
        .argParser(parseChoice('dtype', MODEL_DTYPES))
        .conflicts('file'),
    )
    .option('--file <path>', 'file of a folder by its path or name, as in decoder_model_merged.onnx')
    .option(
      '--size <name=n>',
      'size of a free axis that the graph does not tell, as in hidden=24; may be given several times',
      parseAxisSize,
    )
}

/**
 * Opens the model in the options. Shows a progress bar during a download. Reports on standard error which file and
 * tokenizer were found, and warnings about them.
 */
export async function openNamed(
  model: string,
  { tokenizer, dtype, file, size }: ModelOptions,
  more: Pick<OpenOptions, 'isolate'> = {},
): Promise<Model> {
  const bar = progressBar('download, kB')
  const kilobytes = (bytes: number) => Math.ceil(bytes / 1000)
  const opened = await openModel(model, {
    tokenizer,
    dtype,
    file,
    sizes: size,
    ...more,
    onProgress: ({ done, total }) => bar.update(kilobytes(done), kilobytes(total)),
  }).finally(() => bar.stop())
  if (opened.path !== model) {
    printNote(`model ${opened.path}`)
  }
  if (opened.tokenizer && tokenizer === undefined) {
    printNote(`tokenizer ${opened.tokenizer.path}, found beside the model`)
  }
  printWarnings(opened.warnings)
  return opened
}
