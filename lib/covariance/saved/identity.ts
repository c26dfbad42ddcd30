/** What sums are of: everything that has to be the same for sums of several runs to be put together. */

import { hashedModel } from '../../model/hashed-model.js'
import { headName } from '../../model/sites/site.js'
import { fileHash, hashOfHashes } from '../../store/file-hash.js'
import * as s from '../../store/reading/schema.js'
import { versions } from '../../versions.js'
import { groupsOf, type Sums } from '../sums.js'

/** What the sums of several runs must share to be put together. */
export interface RunIdentity {
  /** Version of the package. */
  qkspace: string
  /** SHA-256 over those of the model's files. */
  model: string
  /** SHA-256 of the tokenizer's file, or `none`. */
  tokenizer: string
  /** SHA-256 of the prompt set. */
  prompts: string
  /** Names of the contrasts, in the order of the sums. */
  contrasts: string[]
  /** Names of the heads. */
  heads: string[]
  /** How terms are averaged. */
  estimator: string
  /** Prompts in a batch. */
  batchSize: number
  /** Whether attention on the terms' keys is measured. */
  attention: boolean
  /** Whether rows for the test of rank are kept. */
  rows: boolean
  /** What computes the sums. */
  backend: string
  /** Instruction set that the backend uses. */
  instructionSet: string
}

export const identitySchema = s.fields({
  qkspace: s.text,
  model: s.text,
  tokenizer: s.text,
  prompts: s.text,
  contrasts: s.texts,
  heads: s.texts,
  estimator: s.text,
  batchSize: s.count,
  attention: s.flag,
  rows: s.flag,
  backend: s.text,
  instructionSet: s.text,
} satisfies s.Fields<RunIdentity>)

/** What each field is called where it differs. */
const NAMES = {
  qkspace: 'the version of qkspace',
  model: 'the model',
  tokenizer: 'the tokenizer',
  prompts: 'the prompt set',
  contrasts: 'the list of contrasts',
  heads: 'the list of heads',
  estimator: 'the estimator',
  batchSize: 'the batch size',
  attention: 'whether attention is measured',
  rows: 'whether rows are kept for the test',
  backend: 'the backend',
  instructionSet: 'the instruction set',
} satisfies Record<keyof RunIdentity, string>

/** Reads the files of the model. Errors: ERR_FILE. */
export async function identityOf(sums: Sums): Promise<RunIdentity> {
  const { model, prompts, contrasts, estimator, backend, batchSize } = sums
  const { files } = await hashedModel(model)
  const groups = groupsOf(sums)
  return {
    qkspace: versions().qkspace,
    model: hashOfHashes(files.map(({ sha256 }) => sha256)),
    tokenizer: model.tokenizer ? (await fileHash(model.tokenizer.path)).sha256 : 'none',
    prompts: prompts.sha256,
    contrasts: [...contrasts],
    heads: sums.sites.flatMap(({ site, groups: own }) =>
      own.flatMap(({ heads }) => heads.map((head) => headName(site, head))),
    ),
    estimator,
    batchSize,
    attention: groups.some((group) => group.attention !== undefined),
    rows: groups.some((group) => group.kept !== undefined),
    backend: backend.name,
    instructionSet: backend.instructionSet,
  }
}

/** In what two runs differ, a line each: "the batch size is 8, expected 16". */
export function differences(found: RunIdentity, expected: RunIdentity): string[] {
  const text = (value: unknown) => (Array.isArray(value) ? value.join(', ') : `${value}`)
  return (Object.keys(NAMES) as (keyof RunIdentity)[])
    .filter((key) => text(found[key]) !== text(expected[key]))
    .map(
      (key) => `${NAMES[key]} is ${shortened(text(found[key]))}, expected ${shortened(text(expected[key]))}`,
    )
}

const SHOWN = 60
const shortened = (text: string): string => (text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text)
