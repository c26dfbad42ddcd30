/** Tables of typed columns: what CSV and Parquet are written from. */

export type Cell = string | number | boolean | null | undefined

export type ColumnType = 'string' | 'int32' | 'double' | 'boolean'

/** A column over rows of the type R. */
export interface Column<R> {
  name: string
  type: ColumnType
  of: (row: R) => Cell
}

/** Columns of one type, by name, in the order given. */
export function columnsOf<R>(type: ColumnType, cells: Record<string, (row: R) => Cell>): Column<R>[] {
  return Object.entries(cells).map(([name, of]) => ({ name, type, of }))
}

export interface Table {
  names: string[]
  types: ColumnType[]
  /** Cells by row, then by column. Null for a missing value, and for NaN. */
  cells: (string | number | boolean | null)[][]
}

export function tableOf<R>(columns: readonly Column<R>[], rows: readonly R[]): Table {
  return {
    names: columns.map(({ name }) => name),
    types: columns.map(({ type }) => type),
    cells: rows.map((row) =>
      columns.map(({ of }) => {
        const cell = of(row) ?? null
        return Number.isNaN(cell) ? null : cell
      }),
    ),
  }
}
