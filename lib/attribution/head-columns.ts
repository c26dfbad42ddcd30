/** All figures of one head, with a column for every contrast of terms. */

import type { Turn } from '../backend/cooperate.js'
import type { TermRun } from '../capture/terms/term-runs.js'
import type { ContrastSubspace } from '../store/result.js'
import { type ControlledSpans, type ControlOptions, controlledSpans } from './control-spans.js'
import { ContrastColumns, type HeadExplained } from './explained.js'
import type { Spans } from './spans.js'
import type { TermRow } from './term-rows.js'

export interface HeadSettings extends ControlOptions {
  /** Names in the order of the subspaces. */
  features: readonly string[]
  centered: boolean
}

export class HeadColumns {
  private readonly contrasts = new Map<string, ContrastColumns>()

  private constructor(
    private readonly settings: HeadSettings,
    private readonly all: ControlledSpans,
    /** Spans of each feature alone. */
    private readonly own: ReadonlyMap<string, ControlledSpans>,
  ) {}

  static async of(
    subspaces: readonly ContrastSubspace[],
    d: number,
    settings: HeadSettings,
    turn: Turn,
  ): Promise<HeadColumns> {
    const { features } = settings
    const all = await controlledSpans(subspaces, d, settings, turn)
    const own = new Map<string, ControlledSpans>()
    for (const [f, name] of features.entries()) {
      own.set(name, features.length === 1 ? all : await controlledSpans([subspaces[f]], d, settings, turn))
    }
    return new HeadColumns(settings, all, own)
  }

  /** Spans of the features themselves. */
  get spans(): Spans {
    return this.all.real
  }

  /** Whether null subspaces are missing for a feature of rank above 0. */
  get lacksNull(): boolean {
    return [this.all, ...this.own.values()].some(({ rank, nulls }) => rank > 0 && nulls.length === 0)
  }

  add({ prompt, contrast }: TermRun, row: TermRow): void {
    let columns = this.contrasts.get(contrast)
    if (!columns) {
      const { features, centered } = this.settings
      columns = new ContrastColumns(features, this.all, this.own.get(contrast), centered)
      this.contrasts.set(contrast, columns)
    }
    columns.add(prompt, row)
  }

  async report(seed: number, turn: Turn): Promise<HeadExplained> {
    const contrasts: HeadExplained['contrasts'] = {}
    for (const [name, own] of this.contrasts) {
      contrasts[name] = await own.report(seed, turn)
    }
    return { contrasts }
  }
}
