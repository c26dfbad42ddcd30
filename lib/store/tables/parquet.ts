/** Tables as Parquet. The writer is loaded only when such a file is asked for. */

import type { ColumnType, Table } from './table.js'

const TYPES = {
  string: 'STRING',
  int32: 'INT32',
  double: 'DOUBLE',
  boolean: 'BOOLEAN',
} as const satisfies Record<ColumnType, string>

/** The bytes of a file with one column for each of the table's, all nullable; `metadata` goes into its footer. */
export async function parquetBytes(table: Table, metadata: Record<string, string>): Promise<Uint8Array> {
  const { parquetWriteBuffer } = await import('hyparquet-writer')
  const { names, types, cells } = table
  const buffer = parquetWriteBuffer({
    columnData: names.map((name, c) => ({ name, type: TYPES[types[c]], data: cells.map((row) => row[c]) })),
    kvMetadata: Object.entries(metadata).map(([key, value]) => ({ key, value })),
    createdBy: 'qkspace',
  })
  return new Uint8Array(buffer)
}
