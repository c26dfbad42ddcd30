/** A model's identity in documents: its path and the hashes of its files. */

import { fileHash } from '../store/file-hash.js'
import type { ResultInfo } from '../store/result-info.js'
import type { Model } from './opened-model.js'

/** Reads and hashes all of the model's files. Errors: those of the file system. */
export async function hashedModel({ path, hub, graph }: Model): Promise<ResultInfo['model']> {
  const files = await Promise.all(graph.model.files.map(fileHash))
  return { path, sha256: files[0].sha256, files, ...(hub && { hub }) }
}
