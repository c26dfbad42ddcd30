/**
 * The cache of the Hugging Face Hub, as huggingface_hub for Python lays it out, so that both share one:
 *
 *     models--org--name/refs/main                          the commit that a branch or tag was at
 *     models--org--name/blobs/<hash>                       contents: SHA-256 of large files, git's SHA-1 of others
 *     models--org--name/snapshots/<commit>/onnx/model.onnx   a relative link to a blob
 *
 * The cache functions of @huggingface/hub are not used. They print to standard output, name blobs and snapshots
 * after other hashes where files have moved to Xet, write every download of a file to one temporary name, and check
 * neither length nor hash.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { copyFile, link, rename, rm, symlink } from 'node:fs/promises'
import path from 'node:path'
import { QkError } from '../../errors.js'
import { makeFolder, writeFileAtomically } from '../../store/atomic-file.js'
import { scratchPath } from '../../store/scratch-file.js'

const COMMIT = /^[0-9a-f]{40}$/

export function isCommit(revision: string): boolean {
  return COMMIT.test(revision)
}

/** The cached files of one repository. */
export class CachedRepository {
  readonly #folder: string

  constructor(cache: string, repo: string) {
    this.#folder = path.join(cache, `models--${repo.replace('/', '--')}`)
  }

  /** The commit of a revision when it was last downloaded. The commit of a commit is itself. */
  commitOf(revision: string): string | undefined {
    if (isCommit(revision)) {
      return revision
    }
    try {
      const commit = readFileSync(this.#ref(revision), 'utf8').trim()
      return isCommit(commit) ? commit : undefined
    } catch {
      return undefined
    }
  }

  async setCommit(revision: string, commit: string): Promise<void> {
    if (isCommit(revision) || this.commitOf(revision) === commit) {
      return
    }
    const file = this.#ref(revision)
    makeFolder(path.dirname(file))
    await writeFileAtomically(file, [Buffer.from(commit)])
  }

  #ref(revision: string): string {
    return path.join(this.#folder, 'refs', ...revision.split('/'))
  }

  /** Folder of the files of a commit. */
  snapshot(commit: string): string {
    return path.join(this.#folder, 'snapshots', commit)
  }

  /** Paths of the cached files of a commit, with `/`. */
  filesOf(commit: string): string[] {
    const root = this.snapshot(commit)
    try {
      return readdirSync(root, { recursive: true, encoding: 'utf8' })
        .map((file) => file.split(path.sep).join('/'))
        .filter((file) => this.has(commit, file))
        .sort()
    } catch {
      return []
    }
  }

  /** Whether a file is cached. A link without its blob does not count. */
  has(commit: string, file: string): boolean {
    return statSync(path.join(this.snapshot(commit), file), { throwIfNoEntry: false })?.isFile() ?? false
  }

  /** Path of a blob; makes its folder. Errors: ERR_FILE. */
  blob(hash: string): string {
    const folder = path.join(this.#folder, 'blobs')
    makeFolder(folder)
    return path.join(folder, hash)
  }

  /** Turns a downloaded blob into a file of a commit, in one step. Errors: ERR_FILE. */
  async place(commit: string, file: string, blob: string): Promise<void> {
    const target = path.join(this.snapshot(commit), file)
    const folder = path.dirname(target)
    makeFolder(folder)
    const temporary = scratchPath(folder)
    try {
      await symlink(path.relative(folder, blob), temporary)
        // Windows lets few users make symbolic links, and some file systems have no hard links.
        .catch(() => link(blob, temporary))
        .catch(() => copyFile(blob, temporary))
      await rename(temporary, target)
    } catch (cause) {
      await rm(temporary, { force: true }).catch(() => {})
      throw new QkError('ERR_FILE', `cannot write ${target}: ${(cause as Error).message}`, { cause })
    }
  }
}
