/**
 * Writes dialects.md: what happens to models in every dialect, by running them.
 *
 *   node scripts/docs/dialects.mjs
 */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { openModel } from '../../dist/index.js'
import { sharedModel } from '../../test/helpers/files.js'
import { attributionGap, editEffect, syntheticRun } from '../../test/helpers/model-checks.js'
import { QUANTISED_MODELS, TINY_DIALECTS } from '../../test/helpers/tiny-dialects.js'
import { writeTinyModel } from '../../test/helpers/tiny-model.js'

const ZOO =
  'bert distilbert bart gpt2 neox bloom gemma2 falcon grouped t5 deberta torch-encoder sinks bigcode llama-with-cache vit conformer detr whisper swin wav2vec clip'
const SHARED = {
  'tinystories-260k': 'eager packed mha attn23 eager_ext eager_fp16',
  'babyllama-105': 'eager gqa',
  'ort-fixtures':
    'attention_past_unidir attention_mha bert_toy_optimized dmmha_cross_attn gpt2_past hf_fp32_encoder_self_attention hf_fp32_decoder_attention_no_past hf_fp32_decoder_attention_with_past mlm_bert_e2e attention_distilbert',
}

const folder = mkdtempSync(path.join(tmpdir(), 'qkspace-dialects-'))
try {
  const sections = [
    ['Tiny models, attention by operator', tinyModels(TINY_DIALECTS)],
    ['Tiny models, quantised projections', tinyModels(QUANTISED_MODELS)],
    ['Architectures as torch.onnx writes them', zooModels()],
    ['Models that exist', sharedModels()],
  ]
  const text = [introduction()]
  for (const [title, models] of sections) {
    text.push(await section(title, models))
  }
  writeFileSync(fileURLToPath(new URL('../../docs/dialects.md', import.meta.url)), `${text.join('\n\n')}\n`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}

function introduction() {
  return '# Dialects\n\nEvery row is a model that was opened and run, and says whether its queries and keys were captured, whether attribution of its scores adds up, whether edits act on its output and nothing else does, and how far recomputed scores are from its own. Made by `node scripts/docs/dialects.mjs` after a build; models that are not there, or that need PyTorch, are left out.'
}

function tinyModels(list) {
  return list.map(({ title, options }) => ({ title, file: writeTinyModel(folder, options) }))
}

/** None where Python has no PyTorch. */
function zooModels() {
  const program = fileURLToPath(new URL('../../test/zoo/export_zoo.py', import.meta.url))
  if (spawnSync('/usr/bin/python3', [program, folder]).status !== 0) {
    return []
  }
  return ZOO.split(' ').map((title) => ({ title, file: path.join(folder, `${title}.onnx`) }))
}

function sharedModels() {
  return Object.entries(SHARED)
    .flatMap(([place, names]) => names.split(' ').map((name) => `${place}/${name}`))
    .map((title) => ({ title, file: sharedModel(`${title}.onnx`) }))
    .filter(({ file }) => existsSync(file))
}

async function section(title, models) {
  const rows = [
    ['model', 'captured', 'attributed', 'intervened', 'verified error'],
    ['---', '---', '---', '---', '---'],
  ]
  for (const { title: name, file } of models) {
    rows.push([name, ...(await examine(file))])
  }
  return `## ${title}\n\n${rows.map((row) => `| ${row.join(' | ')} |`).join('\n')}`
}

/** The cells of one model. */
async function examine(file) {
  let model
  try {
    model = await openModel(file, { threads: 2 })
  } catch (error) {
    return [`no: ${reason(error)}`, '', '', '']
  }
  const error = Math.max(...model.sites.map(({ relativeError }) => relativeError)).toExponential(0)
  try {
    const run = await syntheticRun(model)
    const captured = [...new Set(model.sites.map(({ op }) => op))].join(', ')
    return [`yes (${captured})`, attributed(run, model), await intervened(model, run), error]
  } catch (failure) {
    return [`no: ${reason(failure)}`, '', '', error]
  }
}

function attributed({ captured }, { sites }) {
  const gap = attributionGap(captured)
  if (!(gap < 1e-6)) {
    return `no: parts are ${gap.toExponential(0)} off`
  }
  return sites.some(({ uncovered }) => uncovered) ? 'yes, of q·k; what else is added is not' : 'yes'
}

async function intervened(model, run) {
  try {
    const { unchanged, moved } = await editEffect(model, run)
    if (!(unchanged < 1e-5)) {
      return `no: an edit of nothing changes the output by ${unchanged.toExponential(0)}`
    }
    if (moved > 10 * unchanged) {
      return 'yes'
    }
    return 'edits of nothing change nothing; a swap of two keys does not reach its first output'
  } catch (error) {
    return `no: ${reason(error)}`
  }
}

/** One line that fits a cell, without where the file lies. */
function reason({ message }) {
  return message
    .replaceAll(/\/\S*\//g, '')
    .replaceAll(/\s+/g, ' ')
    .replaceAll('|', '\\|')
    .slice(0, 200)
}
