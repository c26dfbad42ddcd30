import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { readActivations } from '../../../dist/interchange/read-activations.js'
import { loadResult } from '../../../dist/store/result.js'
import { readSafetensors, writeSafetensors } from '../../../dist/store/safetensors.js'
import { boxesResult } from '../../../test/helpers/small-results.js'
import { isRefusal } from '../inputs.mjs'
import { changedBytes, changedJson } from '../mutate.mjs'

/** Results and activations, with fields of the header, of the metadata's documents, or any bytes changed. */
export const target = {
  extension: 'safetensors',
  prepare: async (folder) => {
    const result = path.join(folder, 'seed-result.safetensors')
    // Kept over the deaths of children.
    if (!existsSync(result)) {
      await (await boxesResult({ rank: { rule: 'fixed', rank: 2 }, nulls: 3 })).save(result)
    }
    const activations = path.join(folder, 'seed-activations.safetensors')
    const rows = () => ({
      data: Float32Array.from({ length: 2 * 3 * 2 * 4 }, (_, i) => i),
      shape: [2, 3, 2, 4],
    })
    const names = [
      'blocks.0.attn.hook_rot_q',
      'blocks.0.attn.hook_rot_k',
      'blocks.1.attn.hook_q',
      'blocks.1.attn.hook_k',
    ]
    await writeSafetensors(activations, new Map(names.map((name) => [name, rows()])), { note: 'x' })
    return [result, activations].map((file) => {
      const bytes = readFileSync(file)
      const length = Number(bytes.readBigUInt64LE())
      return {
        bytes,
        header: JSON.parse(bytes.toString('utf8', 8, 8 + length)),
        data: bytes.subarray(8 + length),
      }
    })
  },
  make: (random, seeds) => {
    const { bytes, header, data } = random.pick(seeds)
    const kind = random.next()
    if (kind < 0.2) {
      return changedBytes(random, bytes)
    }
    const documents = Object.keys(header.__metadata__ ?? {}).filter((key) =>
      /^[{[]/.test(header.__metadata__[key]),
    )
    if (kind < 0.6 && documents.length > 0) {
      const key = random.pick(documents)
      const inner = changedJson(random, JSON.parse(header.__metadata__[key]))
      return assemble(
        { ...header, __metadata__: { ...header.__metadata__, [key]: JSON.stringify(inner) ?? '' } },
        data,
      )
    }
    return assemble(changedJson(random, header), random.next() < 0.2 ? changedBytes(random, data) : data)
  },
  run: async (file) => {
    for (const read of [readSafetensors, readActivations]) {
      try {
        await read(file)
      } catch (error) {
        if (!isRefusal(error)) {
          throw error
        }
      }
    }
    const result = await loadResult(file)
    result.toRows()
    for (const head of result.headNames) {
      result.head(head).contrast(result.contrastNames[0])
    }
  },
}

function assemble(header, data) {
  const text = Buffer.from(JSON.stringify(header) ?? '')
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([length, text, data])
}
