/** The result of a sweep: rows, and the subspaces of the discovered heads. */

import type { Result, ResultInfo } from '../store/result.js'
import { SAVE_FORMATS } from '../store/saving/formats.js'
import { checkSavePath, type FileKind, saveParts } from '../store/saving/saved-file.js'
import { csvText } from '../store/tables/csv.js'
import { tableOf } from '../store/tables/table.js'
import type { RoleRule } from './roles/verdict.js'
import { rolesByHead, SWEEP_COLUMNS, type SweepRow } from './rows.js'

/** The document that `SweepResult.save` writes. */
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
  /** How prompts were batched: 'padded', 'equal length' or 'alone'. */
  sharing?: string
  /** Whether queries and keys were centred. */
  center: boolean
  /** Level and draws of the test. */
  rank: ResultInfo['rank']
  /** The attention sites that were captured. */
  sites: ResultInfo['sites']
  /** Hypothesis that was tested: `effect` or `interaction`. */
  hypothesis: 'effect' | 'interaction'
  /** False discovery rate over heads and contrasts. */
  alpha: number
  /** Numbers of tested, discovered and replicated heads and contrasts. */
  counts: {
    /** Number of tested heads and contrasts. */
    tested: number
    /** Number of discovered ones. */
    discovered: number
    /** Number of discoveries that were replicated between halves of the units. */
    replicated: number
  }
  /** Limits for a role. */
  roleRule: RoleRule
  /** Roles by head. */
  roles: Record<
    string,
    {
      /** Name of the contrast. */
      role: string
      /** Attention on all positive keys of a query, a fraction. */
      attention: number
    }[]
  >
  /** One row per head and contrast, sorted by evidence. */
  rows: SweepRow[]
  /** Seed of the sweep. */
  seed: number
  /** The backend that computed the sums. */
  backend: ResultInfo['backend']
  /** Versions of qkspace, Node and onnxruntime, by name. */
  versions: Record<string, string>
  /** Warnings; absent if there were none. */
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

/** The result of a sweep: all heads and contrasts sorted by evidence, and the subspaces. */
export class SweepResult {
  constructor(
    /** One row per head and contrast, sorted by evidence. */
    readonly rows: readonly SweepRow[],
    /** The subspaces, from all units, and their tests. */
    readonly result: Result,
    private readonly more: Pick<SweepDocument, 'hypothesis' | 'alpha' | 'roleRule'> & { warnings: string[] },
  ) {}

  /** Roles by head. */
  get roles(): SweepDocument['roles'] {
    return rolesByHead(this.rows)
  }

  /** Warnings. */
  get warnings(): readonly string[] {
    return this.more.warnings
  }

  /** Content of a `.json` file. */
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

  /** One row per head and contrast, sorted by evidence: as `Result.toRows`, with `role`. */
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

/** Checks that a sweep can be saved here. Errors: ERR_FILE; ERR_ARGUMENT for an ending that is no format. */
export async function checkSweepPath(file: string): Promise<void> {
  await checkSavePath(file, SWEEP_FILE)
}
