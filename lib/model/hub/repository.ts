/**
 * One repository of the Hugging Face Hub at one commit: the list of its files, and their copies in the cache.
 */

import { statSync } from 'node:fs'
import { QkError, throwIfAborted } from '../../errors.js'
import { CachedRepository, isCommit } from './cache.js'
import { downloadFile, type RemoteFile } from './download.js'
import { isSafePath } from './hub-id.js'
import { type Asked, hubFetch } from './request.js'
import type { HubSettings } from './settings.js'

/** Progress of a download. */
export interface DownloadProgress {
  /** Path of the file that is being downloaded, in its repository. */
  file: string
  /** Bytes of all files downloaded so far. */
  done: number
  /** Bytes of all files that are known to be needed. */
  total: number
}

export interface DownloadOptions {
  signal?: AbortSignal
  onProgress?: (progress: DownloadProgress) => void
}

export interface HubRepository {
  readonly commit: string
  /** Paths of its files; offline, of those in the cache. */
  readonly files: readonly string[]
  /**
   * Makes sure that these files are in the cache; downloads them unless offline. Errors: ERR_HUB, ERR_NETWORK,
   * ERR_CHECKSUM, ERR_ABORTED, ERR_FILE.
   */
  readonly folder: string
  /**
   * Downloads those of the files that are not in the cache. Errors: ERR_HUB, ERR_NETWORK, ERR_CHECKSUM, ERR_ABORTED,
   * ERR_FILE.
   */
  need(files: readonly string[]): Promise<void>
  /** Records the commit as that of the revision, once all needed files are cached. */
  settle(): Promise<void>
}

/** Errors: ERR_HUB, ERR_NETWORK, ERR_ABORTED. */
export async function openRepository(
  asked: Asked,
  settings: HubSettings,
  options: DownloadOptions,
): Promise<HubRepository> {
  throwIfAborted(options.signal)
  const cached = new CachedRepository(settings.cache, asked.repo)
  return settings.offline ? offline(asked, settings, cached) : online(asked, settings, cached, options)
}

function offline({ repo, revision }: Asked, { cache }: HubSettings, cached: CachedRepository): HubRepository {
  const commit = cached.commitOf(revision)
  const files = commit === undefined ? [] : cached.filesOf(commit)
  const missing = (what: string) =>
    new QkError(
      'ERR_HUB',
      `${what} is not in the cache, ${cache}, and HF_HUB_OFFLINE forbids to download it`,
      {
        hint: 'Unset HF_HUB_OFFLINE, or use what is cached.',
      },
    )
  if (commit === undefined || files.length === 0) {
    throw missing(`${repo}@${revision}`)
  }
  return {
    commit,
    files,
    folder: cached.snapshot(commit),
    need: async (needed) => {
      const absent = needed.find((file) => !cached.has(commit, file))
      if (absent !== undefined) {
        throw missing(`${absent} of ${repo}@${revision}`)
      }
    },
    settle: async () => {},
  }
}

async function online(
  asked: Asked,
  settings: HubSettings,
  cached: CachedRepository,
  { signal, onProgress }: DownloadOptions,
): Promise<HubRepository> {
  const { repo, revision } = asked
  const request = hubFetch(settings, asked, signal)
  const common = { hubUrl: settings.endpoint, fetch: request }
  // Loaded here, since nothing else needs the library.
  const hub = await import('@huggingface/hub')
  const { sha: commit, filePaths } = await understood(asked, settings, signal, () =>
    hub.modelInfo({ ...common, name: repo, revision, additionalFields: ['sha', 'filePaths'] }),
  )
  if (typeof commit !== 'string' || !isCommit(commit) || !Array.isArray(filePaths)) {
    throw odd(asked, settings)
  }
  const progress = { done: 0, total: 0 }
  let listing: Map<string, RemoteFile> | undefined
  const list = async () => {
    listing ??= await understood(asked, settings, signal, async () => {
      const found = new Map<string, RemoteFile>()
      const entries = hub.listFiles({ ...common, repo, revision: commit, recursive: true })
      for await (const { type, path: file, size, oid, lfs } of entries) {
        if (type === 'file') {
          found.set(file, { path: file, size: lfs?.size ?? size, hash: lfs?.oid ?? oid ?? '' })
        }
      }
      return found
    })
    return listing
  }
  const download = async (file: RemoteFile) => {
    const blob = cached.blob(file.hash)
    const before = statSync(blob, { throwIfNoEntry: false })
    if (before?.size === file.size) {
      progress.done += file.size
    } else {
      const place = file.path.split('/').map(encodeURIComponent).join('/')
      await downloadFile(file, blob, {
        url: `${settings.endpoint}/${repo}/resolve/${commit}/${place}`,
        fetch: request,
        signal,
        onBytes: (count) => {
          progress.done += count
          onProgress?.({ file: file.path, ...progress })
        },
      })
    }
    await cached.place(commit, file.path, blob)
  }
  return {
    commit,
    files: filePaths,
    folder: cached.snapshot(commit),
    need: async (needed) => {
      throwIfAborted(signal)
      const absent = needed.filter((file) => !cached.has(commit, file))
      if (absent.length === 0) {
        return
      }
      const known = await list()
      const files = absent.map((file) => {
        const entry = known.get(file)
        if (!entry || !isSound(entry)) {
          throw odd(asked, settings)
        }
        return entry
      })
      progress.total += files.reduce((sum, { size }) => sum + size, 0)
      for (const file of files) {
        throwIfAborted(signal)
        await download(file)
      }
    },
    settle: () => cached.setCommit(revision, commit),
  }
}

/** Checks a server's listing, since its paths become file names here. */
function isSound({ path: file, size, hash }: RemoteFile): boolean {
  const hashed = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(hash)
  return hashed && isSafePath(file) && Number.isSafeInteger(size) && size >= 0
}

/** Reports a response that is not the expected document as the server's fault. */
async function understood<T>(
  asked: Asked,
  settings: HubSettings,
  signal: AbortSignal | undefined,
  ask: () => Promise<T>,
): Promise<T> {
  try {
    return await ask()
  } catch (cause) {
    throwIfAborted(signal)
    if (cause instanceof QkError) {
      throw cause
    }
    throw odd(asked, settings, cause)
  }
}

function odd({ repo }: Asked, { endpoint }: HubSettings, cause?: unknown): QkError {
  const why = cause instanceof Error ? `: ${cause.message}` : ''
  return new QkError('ERR_HUB', `${endpoint} says of ${repo} what is not understood${why}`, {
    hint: 'Is HF_ENDPOINT the address of a Hugging Face Hub, or of a mirror of it?',
    cause,
  })
}
