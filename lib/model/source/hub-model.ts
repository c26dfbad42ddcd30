/** Downloads the files of a Hugging Face Hub model that are needed to open it, and no others, into the cache. */

import path from 'node:path'
import { QkError } from '../../errors.js'
import { parseHubId } from '../hub/hub-id.js'
import { type DownloadOptions, type HubRepository, openRepository } from '../hub/repository.js'
import { hubSettings } from '../hub/settings.js'
import { externalLocations } from '../onnx/read-model.js'
import { chooseModel, GENAI_CONFIG, type ModelChoice } from './choose-model.js'
import { isModel, type ModelFolder, ONNX_FOLDER, readText } from './model-folder.js'

/** Origin of a model's file on the Hub. */
export interface HubOrigin {
  /** As in `org/name`. */
  repo: string
  /** Requested revision: a branch, a tag or a commit. */
  revision: string
  /** Commit of the revision at that time. */
  commit: string
  /** Path of the `.onnx` file in the repository. */
  file: string
}

export interface HubModel {
  path: string
  /** Cached folder of the repository that holds the model, with the same interface as a local folder. */
  folder: string
  hub: HubOrigin
}

/** Small files that this package, or another user of the cache, reads beside a model. */
const COMPANIONS = [
  'config.json',
  'generation_config.json',
  GENAI_CONFIG,
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
]

/** Most files that a message lists. */
const LISTED = 20

/**
 * Errors: ERR_ARGUMENT, ERR_HUB, ERR_NETWORK, ERR_CHECKSUM, ERR_ABORTED, ERR_FILE, ERR_FORMAT, ERR_NOT_ONNX.
 */
export async function hubModel(id: string, choice: ModelChoice, options: DownloadOptions): Promise<HubModel> {
  const { repo, revision, path: inside = '' } = parseHubId(id)
  const named = inside.endsWith('.onnx')
  if (named && (choice.file !== undefined || choice.dtype !== undefined)) {
    throw new QkError('ERR_ARGUMENT', `${id} names a file; dtype and file choose inside a folder`)
  }
  const repository = await openRepository({ repo, revision }, hubSettings(), options)
  const root = named ? '' : inside
  const chosen = named ? { file: inside } : choice
  const folder = folderOfHub(id, root, repository, chosen.file === undefined)
  const file = path.posix.join(root, await chooseModel(folder, chosen))
  await needCompanions(repository, [root, path.posix.dirname(file)])
  await repository.need([file])
  const at = path.join(repository.folder, file)
  await repository.need(weightsOf(id, at, file, repository))
  await repository.settle()
  return {
    path: at,
    folder: path.join(repository.folder, root),
    hub: { repo, revision, commit: repository.commit, file },
  }
}

/** Cached folder with the small files of a repository, including those of its tokenizer. Errors: as of `hubModel`. */
export async function hubCompanions(id: string, options: DownloadOptions): Promise<string> {
  const { repo, revision, path: folder = '' } = parseHubId(id)
  const repository = await openRepository({ repo, revision }, hubSettings(), options)
  await needCompanions(repository, [folder])
  await repository.settle()
  return path.join(repository.folder, folder)
}

/** `open` where no file is named. Errors: ERR_HUB where it has no model. */
function folderOfHub(id: string, root: string, repository: HubRepository, open: boolean): ModelFolder {
  const prefix = root === '' ? '' : `${root}/`
  const files = repository.files
    .filter((file) => file.startsWith(prefix))
    .map((file) => file.slice(prefix.length))
  const all = repository.files.filter((file) => file.endsWith('.onnx'))
  if (root !== '' && files.length === 0) {
    throw new QkError('ERR_HUB', `${id}: the repository has no folder ${root}`, {
      hint: listed('It has', all),
    })
  }
  if (all.length === 0) {
    throw new QkError('ERR_HUB', `${id} has no ONNX file${listed('; it has', repository.files)}`, {
      hint: 'Export the model to ONNX first, or take a repository where that was done.',
    })
  }
  const models = files.filter(isModel).sort()
  const has = new Set(files)
  if (open && root === '' && models.length === 0 && !has.has(GENAI_CONFIG)) {
    throw new QkError('ERR_HUB', `${id} has its models in folders of its own${listed(':', all)}`, {
      hint: 'Add the path of a folder or of a file, as in hf:org/name/folder.',
    })
  }
  return {
    name: id,
    models,
    has: (file) => has.has(file),
    read: async (file) => {
      await repository.need([prefix + file])
      return readText(path.join(repository.folder, root, file))
    },
  }
}

async function needCompanions(repository: HubRepository, folders: readonly string[]): Promise<void> {
  const places = new Set(folders.map((folder) => (folder === '.' ? '' : folder)))
  for (const folder of [...places]) {
    if (path.posix.basename(folder) === ONNX_FOLDER) {
      places.add(parentOf(folder))
    }
  }
  const wanted = new Set(
    [...places].flatMap((folder) => COMPANIONS.map((name) => path.posix.join(folder, name))),
  )
  await repository.need(repository.files.filter((file) => wanted.has(file)))
}

function parentOf(folder: string): string {
  const parent = path.posix.dirname(folder)
  return parent === '.' ? '' : parent
}

/**
 * The files that the graph names for its weights. Locations that lead out of the folder are skipped here; opening the
 * model refuses them.
 */
function weightsOf(id: string, at: string, file: string, repository: HubRepository): string[] {
  const known = new Set(repository.files)
  return externalLocations(at).flatMap((location) => {
    const weights = path.posix.join(path.posix.dirname(file), location)
    if (path.posix.isAbsolute(location) || /(^|[\\/])\.\.([\\/]|$)/.test(location)) {
      return []
    }
    if (known.has(weights)) {
      return [weights]
    }
    throw new QkError('ERR_HUB', `${id}: ${file} keeps weights in ${weights}, which is not there`, {
      hint: 'Where HF_HUB_OFFLINE is set, unset it: the download may have ended in between.',
    })
  })
}

function listed(before: string, files: readonly string[]): string {
  if (files.length === 0) {
    return ''
  }
  const more = files.length > LISTED ? `, and ${files.length - LISTED} more` : ''
  return `${before} ${files.slice(0, LISTED).join(', ')}${more}`
}
