import { crc32 } from 'node:zlib'
import { readActivations } from '../../../dist/interchange/read-activations.js'
import { npyHeader } from '../../../dist/store/npy.js'
import { changedBytes } from '../mutate.mjs'

const NAMES = [
  'blocks.0.attn.hook_rot_q',
  'blocks.0.attn.hook_rot_k',
  'blocks.1.attn.hook_q',
  'blocks.1.attn.hook_k',
]

/** Archives of activations: bytes of the archive changed, or those of an array under a right checksum. */
export const target = {
  extension: 'npz',
  prepare: async () => {
    const data = Float32Array.from({ length: 48 }, (_, i) => i)
    return Buffer.concat([npyHeader('<f4', [2, 3, 2, 4]), Buffer.from(data.buffer)])
  },
  make: (random, array) => {
    const inArray = random.next() < 0.5
    const arrays = NAMES.map((name) => ({
      name: `${name}.npy`,
      data: inArray && random.next() < 0.4 ? changedBytes(random, array) : array,
    }))
    const archive = stored(arrays)
    return inArray ? archive : changedBytes(random, archive)
  },
  run: (file) => readActivations(file),
}

/** A zip archive without compression (PKWARE's APPNOTE, 4.3). */
function stored(files) {
  const parts = []
  const directory = []
  let at = 0
  for (const { name, data } of files) {
    const common = Buffer.alloc(26)
    common.writeUInt16LE(20, 0)
    common.writeUInt32LE(crc32(data), 10)
    common.writeUInt32LE(data.length, 14)
    common.writeUInt32LE(data.length, 18)
    common.writeUInt16LE(name.length, 22)
    const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), common, Buffer.from(name), data])
    const place = Buffer.alloc(14)
    place.writeUInt32LE(at, 10)
    const made = Buffer.from([20, 0])
    directory.push(
      Buffer.concat([Buffer.from('PK\x01\x02', 'latin1'), made, common, place, Buffer.from(name)]),
    )
    parts.push(local)
    at += local.length
  }
  const central = Buffer.concat(directory)
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06', 'latin1')
  end.writeUInt16LE(files.length, 8)
  end.writeUInt16LE(files.length, 10)
  end.writeUInt32LE(central.length, 12)
  end.writeUInt32LE(at, 16)
  return Buffer.concat([...parts, central, end])
}
