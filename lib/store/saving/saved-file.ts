/** Writes a document, its rows and its tensors in the format given by the ending of the file name. */

import { open } from 'node:fs/promises'
import { QkError } from '../../errors.js'
import { checkReplaceable, fileStart, writeFileAtomically } from '../atomic-file.js'
import { jsonText } from '../json-file.js'
import { type StoredTensor, writeSafetensors } from '../safetensors.js'
import { csvText } from '../tables/csv.js'
import { parquetBytes } from '../tables/parquet.js'
import type { Table } from '../tables/table.js'
import { writeNpz } from '../zip/write-npz.js'
import { formatOf, knownFormat, type SaveFormat } from './formats.js'

/** A kind of file, and how its files are recognised. */
export interface FileKind {
  /** Name of the kind, as in "it exists, and is not a result". */
  name: string
  /** Formats of the kind. */
  formats: readonly SaveFormat[]
  /** The `format` of its documents, which all files except CSV carry. */
  format: string
  /** The `format` in the metadata of its tensors, if it is another one. */
  tensorFormat?: string
  /** First characters of its CSV. */
  csvStart?: string
}

/**
 * The content to save. Each format takes the parts that it can hold. The parts are functions, so that only those are
 * computed.
 */
export interface SavedParts {
  tensors: () => Iterable<[string, StoredTensor]>
  /** Metadata of the tensors. */
  metadata: () => Record<string, string>
  /** Content of `.json`. Without its rows, it is the metadata of a table. */
  document?: () => object
  table?: () => Table
}

/**
 * The format given by the file name, after a check that the file can be written. The folder must exist, and an
 * existing file must be of that kind and format, so that a mistyped name does not overwrite a model's weights or a
 * prompt set. Errors: ERR_FILE; ERR_ARGUMENT for an ending that the kind does not have.
 */
export async function checkSavePath(file: string, kind: FileKind): Promise<SaveFormat> {
  const format = knownFormat(file, kind.formats) ?? 'safetensors'
  const name = format === 'csv' || format === 'parquet' ? `rows of ${kind.name}` : kind.name
  await checkReplaceable(file, name, () => isOfKind(file, kind, format))
  return formatOf(file, kind.formats)
}

/** Errors: those of `checkSavePath`; nothing is left behind. */
export async function saveParts(file: string, kind: FileKind, parts: SavedParts): Promise<void> {
  const format = await checkSavePath(file, kind)
  if (format === 'safetensors') {
    return writeSafetensors(file, parts.tensors(), parts.metadata())
  }
  if (format === 'npz') {
    return writeNpz(file, parts.tensors(), parts.metadata())
  }
  if (format === 'json') {
    return writeFileAtomically(file, [Buffer.from(`${jsonText(parts.document!())}\n`)])
  }
  if (format === 'csv') {
    return writeFileAtomically(file, [Buffer.from(csvText(parts.table!()))])
  }
  const { rows: _, ...about } = parts.document!() as { rows?: unknown }
  const metadata = { format: kind.format, qkspace: JSON.stringify(about) }
  return writeFileAtomically(file, [await parquetBytes(parts.table!(), metadata)])
}

async function isOfKind(file: string, kind: FileKind, format: SaveFormat): Promise<boolean> {
  const tensorFormat = kind.tensorFormat ?? kind.format
  const start = async (length: number) => (await fileStart(file, length)).toString('latin1')
  switch (format) {
    case 'safetensors':
      return (await start(64)).includes(tensorFormat)
    case 'npz':
      // The first array of the archive is the document, with four bytes per character.
      return (await start(1024)).replaceAll('\0', '').includes(`"format":"${tensorFormat}"`)
    case 'json': {
      const text = await start(128)
      return text.trim() === '' || text.startsWith(`{\n  "format": "${kind.format}"`)
    }
    case 'csv': {
      const text = await start(kind.csvStart!.length)
      return text === '' || text === kind.csvStart
    }
    case 'parquet':
      return (await parquetFooter(file)).includes(kind.format)
  }
}

const MOST_FOOTER = 2 ** 28

/** The footer of a Parquet file, which holds its metadata. Empty if the file is not Parquet. */
async function parquetFooter(file: string): Promise<Buffer> {
  const handle = await open(file)
  try {
    const { size } = await handle.stat()
    const end = Buffer.alloc(8)
    if (size < 12 || (await handle.read(end, 0, 8, size - 8)).bytesRead < 8) {
      return Buffer.alloc(0)
    }
    const length = end.readUInt32LE(0)
    if (end.toString('latin1', 4) !== 'PAR1' || length > Math.min(size - 12, MOST_FOOTER)) {
      return Buffer.alloc(0)
    }
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - 8 - length)
    return buffer.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}

/** Refuses an option of tensors if the file format holds no tensors. Errors: ERR_ARGUMENT. */
export function refuseWithoutTensors(file: string, name: string, given: unknown, kind: FileKind): void {
  const format = formatOf(file, kind.formats)
  if (given === undefined || format === 'safetensors' || format === 'npz') {
    return
  }
  throw new QkError('ERR_ARGUMENT', `${name} is the type of stored tensors, and .${format} files hold none`, {
    hint: 'Leave it out, or save as .safetensors or .npz.',
  })
}
