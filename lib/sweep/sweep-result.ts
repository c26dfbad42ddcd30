/** The outcome of a sweep: rows, and the subspaces of the heads that were discovered. */

import type { Result, ResultInfo } from '../store/result.js'
import { SAVE_FORMATS } from '../store/saving/formats.js'
import { checkSavePath, type FileKind, saveParts } from '../store/saving/saved-file.js'
import { csvText } from '../store/tables/csv.js'
import { tableOf } from '../store/tables/table.js'
import type { RoleRule } from './roles/verdict.js'
import { rolesByHead, SWEEP_COLUMNS, type SweepRow } from './rows.js'

/** What `SweepResult.save` writes. */
export interface SweepDocument {
  /** Marks the document as one of a sweep. */
  format: 'qkspace-sweep'
  /** Version of the layout. */
  formatVersion: 1
  /** The model's files. */
  model: ResultInfo['model']
  /** The prompt set. */
  prompts: ResultInfo['prompts']
  /** How terms were averaged: `per-query`, `per-pair` or `sum`. */
  estimator: string
  /** How prompts shared batches: 'padded', 'equal length' or 'alone'. */
  sharing?: string
  /** Whether queries and keys were centred. */
  center: boolean
  /** Level and draws of the test. */
  rank: ResultInfo['rank']
  /** The attention sites that were captured. */
  sites: ResultInfo['sites']
  /** What was tested: `effect` or `interaction`. */
  hypothesis: 'effect' | 'interaction'
  /** False discovery rate over heads and contrasts. */
  alpha: number
  /** Heads and contrasts, and how many of them were discovered, and replicated between halves of the units. */
  counts: {
    /** Heads and contrasts that were tested. */
    tested: number
    /** How many of them were discovered. */
    discovered: number
    /** How many of those were replicated between halves of the units. */
    replicated: number
  }
  /** When a head has a role. */
  roleRule: RoleRule
  /** By head. */
  roles: Record<
    string,
    {
      /** Name of the contrast. */
      role: string
      /** Attention on all positive keys of a query, a fraction. */
      attention: number
    }[]
  >
  /** One row a head and contrast, by evidence. */
  rows: SweepRow[]
  /** Seed of the sweep. */
  seed: number
  /** What computed the sums. */
  backend: ResultInfo['backend']
  /** Versions of qkspace, Node and onnxruntime, by name. */
  versions: Record<string, string>
  /** What may be wrong without being an error, where there was such. */
  warnings?: string[]
}

const SWEEP_FILE: FileKind = {
  name: 'a sweep',
  formats: SAVE_FORMATS,
  format: 'qkspace-sweep',
  // They are the tensors of its result, which `loadResult` reads.
  tensorFormat: 'qkspace-result',
  csvStart: SWEEP_COLUMNS.slice(0, 3)
    .map(({ name }) => name)
    .join(','),
}

/** What a sweep found: every head and contrast by evidence, and the subspaces. */
export class SweepResult {
  constructor(
    /** One a head and contrast, by evidence. */
    readonly rows: readonly SweepRow[],
    /** The subspaces, of all units, and their tests. */
    readonly result: Result,
    private readonly more: Pick<SweepDocument, 'hypothesis' | 'alpha' | 'roleRule'> & { warnings: string[] },
  ) {}

  /** Contrasts that heads attend by, by head. */
  get roles(): SweepDocument['roles'] {
    return rolesByHead(this.rows)
  }

  /** What may be wrong without being an error. */
  get warnings(): readonly string[] {
    return this.more.warnings
  }

  /** What a `.json` file holds. */
  toJSON(): SweepDocument {
    const { model, prompts, estimator, sharing, center, rank, sites, seed, backend, versions } =
      this.result.info
    const { hypothesis, alpha, roleRule, warnings } = this.more
    const found = this.rows.filter(({ discovered }) => discovered)
    const replicated = found.filter(({ replication }) => replication?.replicated)
    return {
      format: 'qkspace-sweep' as const,
      formatVersion: 1 as const,
      model,
      prompts,
      estimator,
      sharing,
      center,
      rank,
      sites,
      hypothesis,
      alpha,
      counts: { tested: this.rows.length, discovered: found.length, replicated: replicated.length },
      roleRule,
      roles: this.roles,
      rows: [...this.rows],
      seed,
      backend,
      versions,
      ...(warnings.length > 0 && { warnings }),
    }
  }

  /** One a head and contrast, by evidence: as `Result.toRows`, with `role`. */
  toRows(): SweepRow[] {
    return [...this.rows]
  }

  /** The rows as CSV with a header. */
  toCsv(): string {
    return csvText(tableOf(SWEEP_COLUMNS, this.rows))
  }

  /**
   * Writes the format that the file's ending names; a name without an ending is `.safetensors`. `.json` holds `toJSON()`,
   * `.csv` and `.parquet` the rows; `.safetensors` and `.npz` hold what those of `result` do, and `toJSON()` without rows
   * as JSON under `sweep`. `loadResult` reads the first. Errors: ERR_ARGUMENT for another ending; ERR_FILE; nothing is
   * left behind.
   */
  async save(file: string): Promise<void> {
    const { tensors, metadata } = this.result.tensorParts()
    await saveParts(file, SWEEP_FILE, {
      tensors,
      metadata: () => {
        const { rows: _, ...about } = this.toJSON()
        return { ...metadata(), sweep: JSON.stringify(about) }
      },
      document: () => this.toJSON(),
      table: () => tableOf(SWEEP_COLUMNS, this.rows),
    })
  }
}

/** Checks that a sweep may be saved here. Errors: ERR_FILE; ERR_ARGUMENT for an ending that is no format. */
export async function checkSweepPath(file: string): Promise<void> {
  await checkSavePath(file, SWEEP_FILE)
}
