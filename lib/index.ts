/**
 * The public surface of qkspace: from an ONNX model and a prompt set to named low-rank subspaces of the query-key space,
 * what they explain of every attention score, and what edits of them do.
 *
 * {@link openModel} reads a model, {@link readPrompts} a prompt set. {@link accumulate} sums their contrastive
 * covariances, {@link decompose} turns these into a {@link Result}. {@link attribute} and {@link intervene} take the
 * result and prompts again; {@link sweep} examines every head in one pass. All errors are a {@link QkError}.
 *
 * The method is that of Lee, Belinkov, Viégas and Wattenberg, "Decomposing Query-Key Feature Interactions Using
 * Contrastive Covariances" (arXiv 2602.04752).
 *
 * @module qkspace
 */

export * from './arrays.js'
export { type AttributeOptions, type AttributionReport, attribute } from './attribution/attribute.js'
export type {
  AttributionComponents,
  ComponentTokens,
  Extreme,
  Reads,
  ReadToken,
} from './attribution/components/component-tokens.js'
export type { AttributedPrompt, AttributedRow } from './attribution/examples.js'
export type {
  ContrastExplained,
  Explained,
  ExplainedControls,
  HeadExplained,
  Share,
} from './attribution/explained.js'
export type {
  AttributionPoints,
  LabelSeparation,
  PointCloud,
  PointRole,
  PointToken,
} from './attribution/points.js'
export type { RowKeys } from './attribution/term-rows.js'
export {
  bundledFile,
  bundledInduction,
  bundledWords,
  type Induction,
  type InductionAttention,
  type Words,
} from './bundled/files.js'
export type { Sharing } from './capture/batch-dependence.js'
export { type CaptureOptions, capture } from './capture/one-prompt/capture.js'
export {
  type CapturedPrompt,
  type CaptureManyOptions,
  captureMany,
} from './capture/one-prompt/capture-many.js'
export type { Capture, CapturedSite } from './capture/one-prompt/capture-run.js'
export type { CapturedTensor, Hooks } from './capture/one-prompt/captured-steps.js'
export {
  type CaptureInfo,
  type SavedCapturePrompt,
  type SavedCaptureSite,
  writeCaptures,
} from './capture/one-prompt/write-captures.js'
export type { BatchPlace } from './capture/run.js'
export { type Citation, cite } from './citation/cite.js'
export type { CitedSettings, CitedTest } from './citation/settings.js'
export {
  applyChatTemplate,
  type ChatMessage,
  type ChatTemplateOptions,
  readTokenizerConfig,
  type TokenizerConfig,
} from './contrast/chat-template.js'
export { type CheckPromptSetOptions, checkPromptSet } from './contrast/check/check-set.js'
export type {
  ContrastCheck,
  Finding,
  FindingKind,
  Measure,
  MeasureName,
  PromptSetCheck,
} from './contrast/check/report.js'
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
export type {
  ContrastRule,
  Counterfactual,
  KeyNames,
  Label,
  Labels,
  PairedTerm,
  Position,
  Prompt,
  PromptSource,
  TensorSource,
  Term,
  TermRule,
  TokenIds,
  TokenOfSpan,
} from './contrast/prompt.js'
export {
  type ContrastDefinition,
  type PromptSet,
  type PromptSetOptions,
  type PromptSetSummary,
  type Prompts,
  readPrompts,
} from './contrast/prompt-set.js'
export { type ChatPromptOptions, withChatTemplate } from './contrast/templated-prompts.js'
export { promptLine, writePrompts } from './contrast/write-prompts.js'
export { type AccumulateOptions, accumulate } from './covariance/accumulate.js'
export type { KeptDraws, RunCheckpoint } from './covariance/checkpointing.js'
export { type Checkpoint, type CheckpointOptions, openCheckpoint } from './covariance/saved/checkpoint.js'
export type { RunIdentity } from './covariance/saved/identity.js'
export { type MergeOptions, mergeSums, readPart, type SavedPart, saveSums } from './covariance/saved/parts.js'
export type { Shard } from './covariance/shard.js'
export type { HeadGroup, SiteSums } from './covariance/site-plan.js'
export { disposeSums, type Sums } from './covariance/sums.js'
export { type ExplainOptions, explain } from './explanation/explain.js'
export type {
  ExplainedFeature,
  ExplainedHead,
  ExplainedPrompt,
  ExplainedTerm,
  ExplanationReport,
  FeatureGain,
  FeatureSwap,
} from './explanation/report.js'
export type { ExplainedPrompts } from './explanation/runs.js'
export {
  type ExportedSubspaces,
  type ExportInfo,
  type ExportOptions,
  type ExportTarget,
  exportSubspaces,
  writeSubspaces,
} from './interchange/export-subspaces.js'
export {
  type LayerActivations,
  type ReadActivationsOptions,
  readActivations,
} from './interchange/read-activations.js'
export type {
  BeforeAfter,
  Exceeds,
  HeadMove,
  InterventionVariant,
  OutputChange,
  Percentiles,
} from './intervention/edit-report.js'
export type { MoveEffects, OutputEffects } from './intervention/edit-table.js'
export type { VariantKind } from './intervention/edit-variants.js'
export { type InterveneOptions, type InterventionReport, intervene } from './intervention/intervene.js'
export {
  type BootstrapOptions,
  bootstrapMean,
  bootstrapRatio,
  type Estimate,
  type Interval,
} from './math/bootstrap.js'
export type { NullFigures } from './math/null-limit.js'
export type { SiteKind, UnsupportedSite } from './model/candidate.js'
export type { DownloadProgress } from './model/hub/repository.js'
export type { InputRole, ModelInput } from './model/inference/inputs.js'
export { Model, type OpenOptions, openModel } from './model/model.js'
export type { HeadSpec } from './model/sites/heads.js'
export type { AttentionSite, OtherRows } from './model/sites/site.js'
export type { ModelDtype } from './model/source/dtypes.js'
export type { HubOrigin } from './model/source/hub-model.js'
export type { PromptTokenizer, TokenizedText } from './model/tokenizer/tokenizer.js'
export type { Cell, PaperFigure, PaperSizes, PaperTable } from './paper/figure.js'
export { type PaperOptions, type PaperReport, runPaper } from './paper/index.js'
export type { DecisiveFigure, PaperClaim, Verdict } from './paper/verdict.js'
export type { Named, ReportParts } from './report/document.js'
export { readAttribution, readExplanation, readInterventions, readPaper } from './report/read-documents.js'
export { writeReport } from './report/report.js'
export {
  type ComparedContrast,
  type CompareOptions,
  type Comparison,
  compareResults,
} from './spectrum/compare/compare-results.js'
export type { Change, MeasureOfBoth } from './spectrum/compare/measures.js'
export type { SideOverlap } from './spectrum/compare/overlap.js'
export { type DecomposeOptions, decompose } from './spectrum/decompose.js'
export { type DrawOptions, drawShard, type OpenDraws, openDraws } from './spectrum/rank/draw-parts.js'
export {
  type EffectOptions,
  type PowerAnswer,
  type PowerOptions,
  powerOf,
  type UnitsAnswer,
  type UnitsOptions,
  unitsFor,
} from './spectrum/rank/power/power-of.js'
export type { NullSubspaces, PlainDirections } from './store/controls.js'
export type { Controlled, HeldOut } from './store/held-out.js'
export type { NullValues, RankTest } from './store/rank-test.js'
export {
  type ContrastSubspace,
  type HeadResult,
  loadResult,
  type MeanAttention,
  type RankRule,
  type Result,
  type ResultDocument,
  type ResultInfo,
  type SavedSite,
  type SaveOptions,
} from './store/result.js'
export type { HeadInfo } from './store/result-info.js'
export type { ResultRow } from './store/result-rows.js'
export type { StoredTensor } from './store/safetensors.js'
export { ROLES, type Role } from './sweep/roles/role-terms.js'
export type { RoleRule } from './sweep/roles/verdict.js'
export type { SweepRow } from './sweep/rows.js'
export { mergeSweep, sweepShard } from './sweep/shards.js'
export { type SweepOptions, type SweepStage, sweep } from './sweep/sweep.js'
export type { SweepDocument, SweepResult } from './sweep/sweep-result.js'
export { readToyConfig } from './toy/export.js'
export { type PayloadOptions, payloadPrompts } from './toy/prompts.js'
export type { ToyConfig } from './toy/task.js'
