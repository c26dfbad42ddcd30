/** Number types of a model's weights, from the file names that transformers.js uses. */

import path from 'node:path'

/** Suffixes between a model's name and `.onnx` (the table of transformers.js). */
const SUFFIXES = {
  fp32: '',
  fp16: '_fp16',
  q8: '_quantized',
  int8: '_int8',
  uint8: '_uint8',
  q4: '_q4',
  q4f16: '_q4f16',
  bnb4: '_bnb4',
} as const

/** `q8` is `model_quantized.onnx`, `fp32` the file without a suffix, every other one `model_<dtype>.onnx`. */
export type ModelDtype = keyof typeof SUFFIXES

export const MODEL_DTYPES = Object.keys(SUFFIXES) as ModelDtype[]

/** The name of a model without its suffix, as in `decoder_model_merged`, and the number type that the suffix means. */
export function splitName(file: string): { stem: string; dtype: ModelDtype } {
  const name = path.posix.basename(file, '.onnx')
  const dtype = MODEL_DTYPES.find((one) => one !== 'fp32' && name.endsWith(SUFFIXES[one])) ?? 'fp32'
  return { stem: name.slice(0, name.length - SUFFIXES[dtype].length), dtype }
}
