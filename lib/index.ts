/** The public surface of qkspace. */

export {
  type AccumulateOptions,
  accumulate,
  disposeSums,
  type HeadGroup,
  type SiteSums,
  type Sums,
} from './analysis/accumulate.js'
export type { ArrayInput } from './analysis/array-input.js'
export {
  type AttributedPrompt,
  type AttributedRow,
  type AttributeOptions,
  type AttributionReport,
  attribute,
  type HeadExplained,
} from './analysis/attribute.js'
export {
  type AttributeArraysOptions,
  type Attribution,
  type AttributionFeature,
  type AttributionSides,
  type AttributionTable,
  attributeArrays,
  type TableAttribution,
} from './analysis/attribute-arrays.js'
export { type Basis, orthonormalBasis, randomBasis, unionBasis } from './analysis/basis.js'
export { type BootstrapOptions, bootstrapMean, bootstrapRatio, type Interval } from './analysis/bootstrap.js'
export {
  type Capture,
  type CapturedSite,
  type CapturedTensor,
  type CaptureOptions,
  capture,
} from './analysis/capture.js'
export { type DecomposeOptions, decompose, type RankRule } from './analysis/decompose.js'
export type {
  BeforeAfter,
  Estimate,
  HeadMove,
  InterventionVariant,
  OutputChange,
} from './analysis/edit-report.js'
export { type InterveneOptions, type InterventionReport, intervene } from './analysis/intervene.js'
export {
  type Attention,
  type Edit,
  type InterveneArraysOptions,
  type Intervention,
  interveneArrays,
} from './analysis/intervene-arrays.js'
export { type MeasureMoveOptions, type Move, measureMove } from './analysis/measure-move.js'
export { type NullOptions, type NullValues, nullSingularValues } from './analysis/null-values.js'
export type { AttributionPoints, PointCloud, PointRole } from './analysis/points.js'
export {
  type BatchInput,
  type Covariances,
  type LabelsInput,
  QKCovariance,
  type QKCovarianceOptions,
  type TermsInput,
} from './analysis/qk-covariance.js'
export { ResidentRows, type UploadOptions, uploadRows } from './analysis/resident-rows.js'
export type { TensorInput } from './analysis/row-tensor.js'
export type { SplitMethod } from './analysis/split.js'
export { type SvdOptions, svd } from './analysis/svd.js'
export type { CovarianceMoments, Dtype, Estimator, SideMoments, SvdResult } from './backend/backend.js'
export { type BackendChoice, type BackendReport, backends } from './backend/select.js'
export { bundledFile, bundledWords, type Words } from './bundled/files.js'
export {
  applyChatTemplate,
  type ChatMessage,
  type ChatTemplateOptions,
  readTokenizerConfig,
  type TokenizerConfig,
} from './contrast/chat-template.js'
export {
  type BoxesOptions,
  type BoxesQuestion,
  boxesLexical,
  boxesOrder,
  boxesText,
  boxesUnused,
  type LexicalChange,
} from './contrast/families/boxes.js'
export {
  type CategoriesOptions,
  type CategorySelect,
  categoryPrompts,
  categoryTemplate,
} from './contrast/families/categories.js'
export type { Label, Labels, Position, Prompt, Term } from './contrast/prompt.js'
export { type PromptSet, type PromptSetSummary, type Prompts, readPrompts } from './contrast/prompt-set.js'
export { type ChatPromptOptions, withChatTemplate } from './contrast/templated-prompts.js'
export { promptLine, writePrompts } from './contrast/write-prompts.js'
export { QkError, type QkErrorCode } from './errors.js'
export { Model, type OpenOptions, openModel } from './model/model.js'
export type { UnsupportedSite } from './model/sites/find.js'
export type { AttentionSite } from './model/sites/site.js'
export type { Cell, PaperFigure, PaperSizes, PaperTable } from './paper/figure.js'
export { type PaperOptions, type PaperReport, runPaper } from './paper/index.js'
export type { Named, ReportParts } from './report/document.js'
export { readAttribution, readInterventions, readPaper } from './report/read-documents.js'
export { writeReport } from './report/report.js'
export {
  type ContrastSubspace,
  type HeadResult,
  loadResult,
  type Result,
  type ResultInfo,
  type SavedSite,
} from './store/result.js'
export { readToyConfig } from './toy/export.js'
export { type PayloadOptions, payloadPrompts } from './toy/prompts.js'
export type { ToyConfig } from './toy/task.js'
