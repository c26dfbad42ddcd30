/** Versions of qkspace and of what its numbers depend on. */

import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

export function versions(): Record<string, string> {
  return {
    qkspace: require('../package.json').version,
    node: process.versions.node,
    'onnxruntime-node': require('onnxruntime-node/package.json').version,
    tokenizers: require('tokenizers/package.json').version,
  }
}
