/** Inputs of the rank test from plain arrays: each contrast with its rows and units. */

import type { Estimator, LabelSequence, RowTensor, TermBatch } from '../../backend/backend.js'
import { checkBatch } from '../../backend/check.js'
import { cooperator } from '../../backend/cooperate.js'
import { labelDraws, type Work } from '../../backend/cost/cost.js'
import { type BackendChoice, selectBackend } from '../../backend/select.js'
import { plainRows, rowReader, termRows } from '../../covariance/kept/term-rows.js'
import { QKCovariance } from '../../covariance/qk-covariance.js'
import { rowTensor, type TensorInput } from '../../covariance/row-tensor.js'
import { type LabelsInput, labelSequence, type TermsInput, termBatch } from '../../covariance/terms-input.js'
import { QkError } from '../../errors.js'
import { spannedElements } from '../../math/tensor.js'
import { unitKey } from '../../math/unit-hash.js'
import { shownValue } from '../../validate.js'
import { flipData } from './exchange/flip-source.js'
import { labelFlips } from './exchange/label-flips.js'
import { labelUnits } from './exchange/label-sequences.js'
import { LabelData } from './exchange/label-source.js'
import type { NullData } from './exchange/null-source.js'
import { chosenTerms, SetData } from './exchange/set-source.js'
import type { TestSubject } from './test-heads.js'

/** Inputs of `testRank`: tensors, and the terms or labels that contrast their rows. */
export interface SubjectOptions {
  /**
   * Queries [batch, pos, heads, d] and keys [batch, pos, kvHeads, d]; row = b * pos + t. They and the terms must not change
   * until the promise settles.
   */
  q: TensorInput
  /** Keys [batch, pos, kvHeads, d]. */
  k: TensorInput
  /** Explicit terms; `contrast` may be omitted if there is only one. Alternative to `labels`. */
  terms?: Omit<TermsInput, 'contrast'> & Partial<Pick<TermsInput, 'contrast'>>
  /** Label-matched sequences, whose labels are exchanged as wholes. Alternative to `terms`. */
  labels?: readonly (Omit<LabelsInput, 'contrast'> & Partial<Pick<LabelsInput, 'contrast'>>)[]
  /** Names of the contrasts, in the order of their indices; default: the names in `contrast`. */
  contrasts?: readonly string[]
  /**
   * The unit of exchange of each term or label sequence. Everything that may share material belongs to one unit,
   * usually the prompt; several terms of a prompt must not be separate units. Default `terms.group`, or the batch
   * index of the term's query; for labels, each sequence.
   */
  units?: Int32Array | readonly (number | string)[]
  /** Default 'per-query'. */
  estimator?: Estimator
  /** Default 0. The same seed gives the same signs on every backend and in every order. */
  seed?: number
  /**
   * Declares that the keys of a term could change places (the test permutes which are positive), or labels over
   * positions (the test flips signs of whole sequences). Refused if terms share keys.
   */
  exchangeable?: boolean
  /** Backend of the draws; default 'auto': `cpu`, or a GPU where that pays, or `js`. */
  backend?: BackendChoice
  /** Ends the test with ERR_ABORTED. */
  signal?: AbortSignal
}

/**
 * Checks tensors, terms or labels, and units, and gathers the rows of each contrast.
 * Errors: ERR_TYPE, ERR_ARGUMENT, ERR_SHAPE, ERR_RANGE, ERR_EMPTY_SET, ERR_NON_FINITE, ERR_ABORTED.
 */
export async function subjectsOf(given: SubjectOptions, draws: number) {
  const { estimator = 'per-query', labels, terms: input, signal } = given
  const q = rowTensor(given.q, 'q')
  const k = rowTensor(given.k, 'k')
  if (k.shape[3] !== q.shape[3]) {
    throw new QkError('ERR_SHAPE', `k.shape has d = ${k.shape[3]}, q.shape has ${q.shape[3]}`)
  }
  if ((input === undefined) === (labels === undefined)) {
    throw new QkError('ERR_ARGUMENT', 'testRank takes either terms or labels')
  }
  checkKinds(given)
  // Chosen once, for everything that follows.
  const backend = selectBackend(given.backend, expectedDraws(q, k, given, draws)).choice
  const options = { ...given, backend }
  const contrasts = options.contrasts ? [...options.contrasts] : namedContrasts(input?.contrast, labels)
  // Checks heads, dimensions, estimator and names.
  const covariance = new QKCovariance({
    heads: q.shape[2],
    kvHeads: k.shape[2],
    headDim: q.shape[3],
    contrasts,
    estimator,
    backend,
  })
  covariance.dispose()
  await refuseNonFinite(q, 'q', signal)
  await refuseNonFinite(k, 'k', signal)
  const single = contrasts.length === 1 ? contrasts[0] : undefined
  const contrastOf = <T>(contrast: T, where: string): NonNullable<T> | string => {
    if (contrast !== undefined && contrast !== null) {
      return contrast
    }
    if (single !== undefined) {
      return single
    }
    throw new QkError('ERR_ARGUMENT', `${where} says no contrast, of ${contrasts.length}`)
  }
  const interaction = estimator !== 'sum'
  if (input) {
    const contrast = input.contrast ?? contrastOf(undefined, 'terms')
    const terms = termBatch({ ...input, contrast }, contrasts)
    checkBatch(covariance.spec, { q, k, terms })
    const ids = unitIds(options.units ?? input.group, terms.query.length, 'terms', (t) => {
      return Math.floor(terms.query[t] / q.shape[1])
    })
    const ofContrast = (c: number) => [...terms.contrast.keys()].filter((t) => terms.contrast[t] === c)
    const subjects: TestSubject[] = []
    for (const [c, name] of contrasts.entries()) {
      subjects.push({ name, interaction, data: await termData(q, k, terms, ofContrast(c), ids, options) })
    }
    return { contrasts, subjects, backend }
  }
  const sequences = labels!.map((sequence, i) => {
    return labelSequence(
      { ...sequence, contrast: contrastOf(sequence.contrast, `labels[${i}]`) },
      contrasts,
      `labels[${i}]`,
    )
  })
  checkBatch(covariance.spec, { q, k, labels: sequences })
  const ids = unitIds(options.units, sequences.length, 'labels', (i) => i)
  const subjects: TestSubject[] = []
  for (const [c, name] of contrasts.entries()) {
    const chosen = [...sequences.keys()].filter((i) => sequences[i].contrast === c)
    const own = chosen.map((i) => sequences[i])
    subjects.push({
      name,
      interaction,
      data: await labelData(
        q,
        k,
        own,
        chosen.map((i) => ids[i]),
        options,
      ),
    })
  }
  return { contrasts, subjects, backend }
}

/** The draws of every head: of signs, on a row a term or query, or of labels. */
function expectedDraws(q: RowTensor, k: RowTensor, options: SubjectOptions, draws: number): Work[] {
  const { terms, labels = [], exchangeable } = options
  const sizes = { heads: q.shape[2], kvHeads: k.shape[2], headDim: q.shape[3] }
  const rows = terms
    ? (terms.query?.length ?? 0)
    : labels.reduce((sum, { queryRows }) => sum + (queryRows?.length ?? 0), 0)
  return terms || exchangeable ? [{ kind: 'flips', ...sizes, rows, draws }] : labelDraws(sizes, rows, draws)
}

/** Errors: ERR_TYPE. */
function checkKinds({ terms, labels, contrasts }: SubjectOptions): void {
  const isObject = (value: unknown) =>
    typeof value === 'object' && value !== null && !ArrayBuffer.isView(value)
  if (terms !== undefined && (!isObject(terms) || Array.isArray(terms))) {
    throw new QkError('ERR_TYPE', 'terms must be an object { query, pos, posOffsets, neg, negOffsets }')
  }
  if (labels !== undefined && !(Array.isArray(labels) && labels.every(isObject))) {
    throw new QkError('ERR_TYPE', 'labels must be an array of label sequences')
  }
  if (contrasts !== undefined && !Array.isArray(contrasts)) {
    throw new QkError('ERR_TYPE', 'contrasts must be an array of names')
  }
}

async function termData(
  q: RowTensor,
  k: RowTensor,
  terms: TermBatch,
  chosen: readonly number[],
  ids: readonly string[],
  options: SubjectOptions,
): Promise<NullData> {
  const { estimator = 'per-query', seed = 0, backend = 'auto', exchangeable, signal } = options
  const counterfactual = chosen.some((t) => terms.query[t] !== terms.queryNeg[t])
  const names = [...new Set(chosen.map((t) => ids[t]))]
  const index = new Map(names.map((name, i) => [name, i]))
  const rows = await termRows(q, k, terms, chosen, estimator, counterfactual, signal)
  const unitKeys = names.map(unitKey)
  const unit = rows.term.map((t) => index.get(ids[t])!)
  const flips = flipData(
    selectBackend(backend),
    { ...rows, unit, unitKeys, estimator, counterfactual },
    seed,
    exchangeable === true || (counterfactual && chosen.every((t) => terms.query[t] !== terms.queryNeg[t])),
  )
  if (!exchangeable) {
    return flips
  }
  const units = Int32Array.from(chosen, (t) => index.get(ids[t])!)
  return new SetData(
    backend,
    await plainRows(q, k, estimator, signal),
    chosenTerms(terms, chosen),
    units,
    unitKeys,
    seed,
    flips,
  )
}

async function labelData(
  q: RowTensor,
  k: RowTensor,
  sequences: readonly LabelSequence[],
  ids: readonly string[],
  options: SubjectOptions,
): Promise<NullData> {
  const { estimator = 'per-query', seed = 0, backend = 'auto', exchangeable, signal } = options
  const rows = await plainRows(q, k, estimator, signal)
  if (exchangeable) {
    return flipData(selectBackend(backend), labelFlips(rows, sequences, ids), seed, true)
  }
  return new LabelData(backend, rows, async () => rows, labelUnits(sequences, ids), seed)
}

const MOST_CONTRASTS = 65_536

/** Names in order of first appearance, or as many as the largest index requires. */
function namedContrasts(of: TermsInput['contrast'] | undefined, labels: SubjectOptions['labels']): string[] {
  const given = labels
    ? labels.map(({ contrast }) => contrast)
    : typeof of === 'string'
      ? [of]
      : [...(of ?? [])]
  const known = given.filter((contrast) => contrast !== undefined)
  if (known.length === 0) {
    return ['contrast']
  }
  if (known.every((contrast) => typeof contrast === 'string')) {
    return [...new Set(known)] as string[]
  }
  const most = known.reduce<number>((largest, contrast) => Math.max(largest, Number(contrast)), 0)
  // A name is made for every index, so an invalid large index must not fill the memory.
  if (!(most < MOST_CONTRASTS)) {
    throw new QkError('ERR_RANGE', `contrast ${most} is not below ${MOST_CONTRASTS}`, {
      hint: 'Name the contrasts as `contrasts`.',
    })
  }
  return Array.from({ length: most + 1 }, (_, c) => `${c}`)
}

function unitIds(
  given: SubjectOptions['units'] | undefined,
  count: number,
  what: string,
  otherwise: (i: number) => number,
): string[] {
  if (given === undefined) {
    return Array.from({ length: count }, (_, i) => `${otherwise(i)}`)
  }
  if (!(given instanceof Int32Array || Array.isArray(given))) {
    throw new QkError('ERR_TYPE', 'units must be an Int32Array, or an array of numbers or names')
  }
  if (given.length !== count) {
    throw new QkError(
      'ERR_SHAPE',
      `units has ${given.length} elements, expected one for each of ${count} ${what}`,
    )
  }
  return Array.from(given as ArrayLike<number | string>, (unit, i) => {
    if (typeof unit === 'string' || Number.isSafeInteger(unit)) {
      return `${unit}`
    }
    throw new QkError('ERR_TYPE', `units[${i}] is ${shownValue(unit)}, expected a whole number or a name`)
  })
}

/** Errors: ERR_SHAPE, ERR_NON_FINITE. */
async function refuseNonFinite(tensor: RowTensor, name: string, signal?: AbortSignal): Promise<void> {
  const [batch, pos, heads, d] = tensor.shape
  const row = new Float32Array(heads * d)
  const needed = spannedElements(tensor.shape, tensor.strides)
  if (tensor.data.length < needed) {
    throw new QkError(
      'ERR_SHAPE',
      `${name} has ${tensor.data.length} elements, its shape and strides need ${needed}`,
    )
  }
  const read = rowReader(tensor)
  const pause = cooperator(signal)
  for (let r = 0; r < batch * pos; r++) {
    await pause()
    read(r, row, 0)
    const wrong = row.findIndex((x) => !Number.isFinite(x))
    if (wrong < 0) {
      continue
    }
    throw new QkError('ERR_NON_FINITE', `${name}: row ${r}, head ${Math.floor(wrong / d)} is not finite`)
  }
}
