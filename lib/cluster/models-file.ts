/** `models.json`: which files of this machine a name of a model means. */

import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { QkError } from '../errors.js'
import { isHubId } from '../model/hub/hub-id.js'
import { readModel } from '../model/onnx/read-model.js'
import { resolveSource } from '../model/source/resolve-source.js'
import { fileHash, hashOfHashes } from '../store/file-hash.js'
import * as s from '../store/reading/schema.js'

/** A model of this machine; both are paths. */
export interface NamedModel {
  model: string
  /** Default: the one that lies beside the model, if any. */
  tokenizer?: string
}

/** What the files of a model are, wherever they lie. */
export interface ModelHashes {
  /** SHA-256 of the SHA-256 of its files, the graph first. */
  sha256: string
  /** SHA-256 of the tokenizer, or 'none'. */
  tokenizer: string
}

const schema = s.byName(
  s.fields({ model: s.text, tokenizer: s.optional(s.text) } satisfies s.Fields<NamedModel>),
)

const HINT =
  'Write it as { "boxes": { "model": "boxes.onnx", "tokenizer": "tokenizer.json" } }; paths are relative to the file.'

/** Errors: ERR_FILE, ERR_FORMAT; they name the file and the field. */
export async function readModels(file: string): Promise<Map<string, NamedModel>> {
  const text = await readFile(file, 'utf8').catch((cause) => {
    throw new QkError('ERR_FILE', `cannot read ${file}: ${(cause as Error).message}`, { cause })
  })
  const misfit = s.misfitOf(file, HINT)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new QkError('ERR_FORMAT', `${file} is not JSON: ${(cause as Error).message}`, { hint: HINT, cause })
  }
  s.checkDocument(schema, value, misfit)
  const entries = Object.entries(value as Record<string, NamedModel>)
  if (entries.length === 0) {
    throw misfit('', 'names no model')
  }
  const folder = path.dirname(path.resolve(file))
  return new Map(
    entries.map(([name, { model, tokenizer }]) => {
      const found = (field: keyof NamedModel, given: string) => {
        if (isHubId(given)) {
          throw misfit(
            `${name}.${field}`,
            `is ${given}: workers take files only, so that nothing is downloaded`,
          )
        }
        const whole = path.resolve(folder, given)
        if (!existsSync(whole)) {
          throw new QkError('ERR_FILE', `${file}: ${name}.${field} is ${given}, and there is no ${whole}`)
        }
        return whole
      }
      return [
        name,
        {
          model: found('model', model),
          ...(tokenizer !== undefined && { tokenizer: found('tokenizer', tokenizer) }),
        },
      ]
    }),
  )
}

/** Errors: ERR_ARGUMENT with the names that there are. */
export function modelNamed(models: ReadonlyMap<string, NamedModel>, name: string, file: string): NamedModel {
  const found = models.get(name)
  if (!found) {
    throw new QkError('ERR_ARGUMENT', `${file} names no model "${name}"`, {
      hint: `It names ${[...models.keys()].map((known) => `"${known}"`).join(', ')}.`,
    })
  }
  return found
}

/** Reads all files of a model, without opening it. Errors: ERR_FILE, ERR_NOT_ONNX, those of a folder without models. */
export async function modelHashes({ model, tokenizer }: NamedModel): Promise<ModelHashes> {
  const source = await resolveSource(model, {}, {})
  const files = await Promise.all(readModel(source.path).files.map(fileHash))
  const beside = tokenizer ?? source.tokenizer
  return {
    sha256: hashOfHashes(files.map(({ sha256 }) => sha256)),
    tokenizer: beside === undefined ? 'none' : (await fileHash(beside)).sha256,
  }
}
