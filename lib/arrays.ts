/**
 * The arithmetic alone, as a backend for other tools: plain arrays in, plain arrays out. Loads neither onnxruntime nor
 * a tokenizer. The package exports it as `qkspace/arrays`.
 *
 * {@link QKCovariance} sums contrastive covariances, {@link svd} decomposes them and {@link testRank} tests their rank.
 * {@link attributeArrays} splits scores, {@link interveneArrays} edits queries or keys. Arrays are row-major.
 *
 * @module qkspace/arrays
 */

import type { RankTests, TestRankOptions } from './spectrum/rank/test-rank.js'

export {
  type AttributeArraysOptions,
  type Attribution,
  type AttributionFeature,
  type AttributionSides,
  type AttributionTable,
  attributeArrays,
  type TableAttribution,
} from './attribution/attribute-arrays.js'
export type { SplitMethod } from './attribution/split.js'
export type {
  BackendDescription,
  BackendName,
  CovarianceMoments,
  CovarianceSpec,
  DeviceDescription,
  Estimator,
  KeyScope,
  NamedBackend,
  ResultDtype,
  SideMoments,
  SvdArrays,
  SvdResult,
} from './backend/backend.js'
export { type BackendChoice, type BackendReport, backends } from './backend/select.js'
export { DeviceTensor, type UploadOptions, uploadTensor } from './covariance/device-tensor.js'
export {
  type BatchInput,
  type Covariances,
  QKCovariance,
  type QKCovarianceOptions,
} from './covariance/qk-covariance.js'
export type { TensorInput } from './covariance/row-tensor.js'
export type { Indices, LabelsInput, TermsInput, Weights } from './covariance/terms-input.js'
export { QkError, type QkErrorCode, type QkErrorOptions } from './errors.js'
export type { Edit } from './intervention/edit.js'
export {
  type Attention,
  type InterveneArraysOptions,
  type Intervention,
  interveneArrays,
} from './intervention/intervene-arrays.js'
export { type MeasureMoveOptions, type Move, measureMove } from './intervention/measure-move.js'
export type { ArrayInput } from './math/arrays.js'
export { type Basis, orthonormalBasis, randomBasis, unionBasis } from './math/basis.js'
export type { Dtype } from './math/tensor.js'
export type { Hypothesis } from './spectrum/rank/exchange/null-source.js'
export type { RankTests, TestRankOptions } from './spectrum/rank/test-rank.js'
export { type SvdOptions, svd } from './spectrum/svd.js'

/**
 * How many components of ΔC are more than exchanged units show, of every head and contrast: `testRank` of `qkspace`. Its
 * modules are half of all that this entry would load, and are loaded by the first call.
 */
export async function testRank(options: TestRankOptions): Promise<RankTests> {
  const { testRank: run } = await import('./spectrum/rank/test-rank.js')
  return run(options)
}
