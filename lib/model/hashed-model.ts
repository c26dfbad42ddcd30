/** A model as documents name it: by its path, and by the hashes of its files. */

import { fileHash } from '../store/file-hash.js'
import type { Model } from './opened-model.js'
import type { HubOrigin } from './source/hub-model.js'

/** A model with the SHA-256 of its files, in hexadecimal digits; `sha256` is that of the `.onnx` file. */
export interface HashedModel {
  path: string
  sha256: string
  files: { name: string; sha256: string }[]
  hub?: HubOrigin
}

/** Reads all of the model's files. Errors: the file system's own. */
export async function hashedModel({ path, hub, graph }: Model): Promise<HashedModel> {
  const files = await Promise.all(graph.model.files.map(fileHash))
  return { path, sha256: files[0].sha256, files, ...(hub && { hub }) }
}
