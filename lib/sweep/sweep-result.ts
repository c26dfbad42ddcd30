/** The outcome of a sweep: rows, and the subspaces of the heads that were discovered. */

import { checkJsonPath, writeJsonFile } from '../store/json-file.js'
import type { Result, ResultInfo } from '../store/result.js'
import type { RoleRule } from './roles/verdict.js'
import { csvOf, rolesByHead, type SweepRow } from './rows.js'

/** What `SweepResult.save` writes. */
export interface SweepDocument {
  format: 'qkspace-sweep'
  formatVersion: 1
  model: ResultInfo['model']
  prompts: ResultInfo['prompts']
  estimator: string
  sites: ResultInfo['sites']
  hypothesis: 'effect' | 'interaction'
  /** False discovery rate over heads and contrasts. */
  alpha: number
  /** Heads and contrasts, and how many of them were discovered, and replicated between halves of the units. */
  counts: { tested: number; discovered: number; replicated: number }
  roleRule: RoleRule
  /** By head. */
  roles: Record<string, { role: string; attention: number }[]>
  rows: SweepRow[]
  seed: number
  backend: ResultInfo['backend']
  versions: Record<string, string>
  warnings?: string[]
}

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

  get warnings(): readonly string[] {
    return this.more.warnings
  }

  toJSON(): SweepDocument {
    const { model, prompts, estimator, sites, seed, backend, versions } = this.result.info
    const { hypothesis, alpha, roleRule, warnings } = this.more
    const found = this.rows.filter(({ discovered }) => discovered)
    const replicated = found.filter(({ replication }) => replication?.replicated)
    return {
      ...{ format: 'qkspace-sweep' as const, formatVersion: 1 as const },
      ...{ model, prompts, estimator, sites, hypothesis, alpha },
      counts: { tested: this.rows.length, discovered: found.length, replicated: replicated.length },
      ...{ roleRule, roles: this.roles, rows: [...this.rows], seed, backend, versions },
      ...(warnings.length > 0 && { warnings }),
    }
  }

  /** The rows as CSV with a header. */
  toCsv(): string {
    return csvOf(this.rows)
  }

  /** Writes `toJSON()`. Errors: ERR_FILE; nothing is left behind. */
  async save(file: string): Promise<void> {
    await checkJsonPath(file, 'format')
    await writeJsonFile(file, this.toJSON())
  }
}
