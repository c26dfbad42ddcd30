/** Names of models on the Hugging Face Hub, as in `hf:org/name@revision/onnx/model.onnx`. */

import { QkError } from '../../errors.js'

export interface HubId {
  /** As in `org/name`. */
  repo: string
  /** Branch, tag or commit; `main` by default. */
  revision: string
  /** Path of an `.onnx` file, or of a folder, inside the repository. */
  path?: string
}

const PREFIX = 'hf:'

/** A name that may stand in a path and in a URL. */
const NAME = /^(?!.*(?:--|\.\.))[A-Za-z0-9_][\w.-]*$/

/**
 * Revisions that contain slashes. In any other revision a slash is written as %2F, since a path may follow. File
 * systems over the Hub use the same notation.
 */
const SPECIAL_REVISION = /^refs\/(?:pr\/\d+|convert\/\w+)/

export function isHubId(name: string): boolean {
  return name.startsWith(PREFIX)
}

/** Errors: ERR_ARGUMENT. */
export function parseHubId(text: string): HubId {
  const refuse = (what: string): never => {
    throw new QkError('ERR_ARGUMENT', `'${text}' ${what}`, {
      hint: 'Write hf:org/name, hf:org/name@revision, or hf:org/name@revision/onnx/model.onnx.',
    })
  }
  const [org, rest = '', ...more] = text.slice(PREFIX.length).split('/')
  const [name, ...revised] = rest.split('@')
  if (!NAME.test(org) || !NAME.test(name)) {
    refuse('does not name a model of the Hub')
  }
  const repo = `${org}/${name}`
  if (revised.length === 0) {
    return { repo, revision: 'main', ...pathOf(more) }
  }
  const after = [revised.join('@'), ...more].join('/')
  const special = SPECIAL_REVISION.exec(after)?.[0]
  const first = special ?? after.split('/')[0]
  const inside = after.slice(first.length).replace(/^\//, '')
  const revision = decoded(first)
  if (revision === undefined || !isSafePath(revision)) {
    refuse(`has the revision '${first}', which no branch, tag or commit is called`)
  }
  return { repo, revision: revision!, ...pathOf(inside === '' ? [] : inside.split('/')) }

  function pathOf(segments: string[]): Pick<HubId, 'path'> {
    const path = segments.join('/').replace(/\/$/, '')
    if (path === '') {
      return {}
    }
    return isSafePath(path) ? { path } : refuse(`has the path '${path}', which leads out of the repository`)
  }
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/** Whether a path of a repository stays inside its folder on every system. */
export function isSafePath(path: string): boolean {
  const segments = path.split('/')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused.
  const odd = /[\u0000-\u001f\\:*?"<>|]/
  return segments.every((segment) => segment !== '' && !/^\.{1,2}$/.test(segment) && !odd.test(segment))
}
