/** Writes captured prompts to one `.safetensors` file, one at a time. */

import { QkError } from '../../errors.js'
import { hashedModel } from '../../model/hashed-model.js'
import { checkModel, type Model } from '../../model/model.js'
import { keyHeadOf } from '../../model/sites/site.js'
import { checkReplaceable, fileStart } from '../../store/atomic-file.js'
import type { ResultInfo } from '../../store/result-info.js'
import { type StreamedTensor, streamSafetensors } from '../../store/safetensors.js'
import { formatOf } from '../../store/saving/formats.js'
import { versions } from '../../versions.js'
import type { CapturedPrompt } from './capture-many.js'
import type { CapturedSite } from './capture-run.js'
import type { Hooks } from './captured-steps.js'

/** `format` in the metadata of files of captures. */
export const CAPTURE_FORMAT = 'qkspace-capture'

/** One site in a file of captures. */
export interface SavedCaptureSite {
  /** Index of the layer, as in the names of heads. */
  layer: number
  /** `enc`, `dec` or `cross` in a model with several kinds. */
  kind?: string
  /** Names of the query heads, in the order of the head axis. */
  heads: string[]
  /** The key heads of the model, in the order of the head axis of the keys. */
  kvHeads: number[]
  /** Index of each query head's key head on that axis. */
  keyHeads: number[]
  /** Names of the captured tensors, without the prefix of a prompt. */
  hooks: Hooks
}

/** One prompt in a file of captures. */
export interface SavedCapturePrompt {
  /** Prefix of the names of its tensors: empty for a single prompt, otherwise as in `p0/`. */
  prefix: string
  /** Place of the prompt in its set. */
  where: string
  /** Its id, if it has one. */
  id?: string
  /** Its text, if it has one. */
  text?: string
  /** Its second text, if it has one. */
  pair?: string
  /** Token ids, including generated ones. Absent if the model took tensors. */
  tokens?: number[]
  /** Relative errors of the verification, by site. */
  relativeErrors: number[]
}

/** Metadata of a file of captures: JSON under `qkspace`. */
export interface CaptureInfo {
  /** Marks the file as one of captures. */
  format: typeof CAPTURE_FORMAT
  /** Version of the layout. */
  formatVersion: 1
  /** Version of qkspace. */
  qkspace: string
  /** The model, by its path and the SHA-256 of its files. */
  model: ResultInfo['model']
  /** In the order of the model. */
  sites: SavedCaptureSite[]
  /** In the order of the set. */
  prompts: SavedCapturePrompt[]
}

/**
 * Checks that captures can be written here: the name ends in `.safetensors`, or has no ending, the folder exists, and
 * an existing file holds captures. Errors: ERR_ARGUMENT, ERR_FILE.
 */
export async function checkCapturePath(file: string): Promise<void> {
  formatOf(file, ['safetensors'])
  await checkReplaceable(file, 'a file of captures', async () => {
    return (await fileStart(file, 64)).toString('latin1').includes(CAPTURE_FORMAT)
  })
}

/**
 * Writes captures, such as those of `captureMany`, to one `.safetensors` file, with one of them in memory at a time.
 * Tensors have the names of the hooks, as in `blocks.0.attn.hook_rot_q`. With several prompts, a prefix is added: the
 * prompt's id, or `p` and its index, as in `p0/blocks.0.attn.hook_rot_q`. The metadata hold the return value as JSON
 * under `qkspace`.
 *
 * During writing, the file takes twice its space.
 *
 * Errors: ERR_ARGUMENT, ERR_TYPE, ERR_FILE; ERR_PROMPT if two prompts have one id; ERR_FORMAT if there are so many
 * tensors that readers would refuse the header; those of the captures. Nothing is left behind.
 */
export async function writeCaptures(
  file: string,
  model: Model,
  captures: AsyncIterable<CapturedPrompt> | Iterable<CapturedPrompt>,
): Promise<CaptureInfo> {
  checkModel(model, 'writeCaptures')
  await checkCapturePath(file)
  const info: CaptureInfo = {
    format: CAPTURE_FORMAT,
    formatVersion: 1,
    qkspace: versions().qkspace,
    model: await hashedModel(model),
    sites: [],
    prompts: [],
  }
  const prefixes = new Set<string>()
  async function* tensors(): AsyncGenerator<StreamedTensor> {
    let index = 0
    for await (const { where, prompt, tokens, sites, activations } of captures) {
      const { id, text, pair } = prompt
      const prefix = `${id ?? `p${index}`}/`
      if (prefixes.has(prefix)) {
        throw new QkError('ERR_PROMPT', `${where}: another prompt has its tensors under ${prefix}`, {
          hint: 'Give every prompt an id of its own.',
        })
      }
      prefixes.add(prefix)
      info.sites = sites.map(savedSite)
      info.prompts.push({
        prefix,
        where,
        ...(id !== undefined && { id }),
        ...(text !== undefined && { text }),
        ...(pair !== undefined && { pair }),
        ...(tokens && { tokens }),
        relativeErrors: sites.map(({ relativeError }) => relativeError),
      })
      for (const [name, { data, dtype, shape }] of Object.entries(activations)) {
        yield { name: `${prefix}${name}`, dtype: dtype === 'f16' ? 'F16' : 'F32', shape, data }
      }
      index += 1
    }
    if (index === 0) {
      throw new QkError('ERR_PROMPT', 'there are no captures to write')
    }
  }
  await streamSafetensors(file, tensors(), {
    // A single prompt needs no name.
    rename: (name) => (prefixes.size === 1 ? name.slice([...prefixes][0].length) : name),
    metadata: () => {
      if (info.prompts.length === 1) {
        info.prompts[0].prefix = ''
      }
      return { format: CAPTURE_FORMAT, qkspace: JSON.stringify(info) }
    },
  })
  return info
}

function savedSite({ site, heads, kvHeads, hooks }: CapturedSite): SavedCaptureSite {
  const { layer, kind } = site
  return {
    layer,
    ...(kind && { kind }),
    heads,
    kvHeads,
    hooks,
    keyHeads: heads.map((name) => kvHeads.indexOf(keyHeadOf(site, Number(/\d+$/.exec(name)![0])))),
  }
}
