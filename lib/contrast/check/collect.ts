/** Collects the sums of each contrast in one pass over the prompts. */

import type { Label, Labels, TermRule } from '../prompt.js'
import { countKeyRows, noKeyRows } from './key-rows.js'
import { addLabels, countQueries } from './label-differences.js'
import { type PlacedRun, type PositionUnit, placeTerm } from './place-prompt.js'
import { MOST_UNITS } from './report.js'
import { type Beginning, commonLength } from './shared-material.js'
import { addLengths, addTerm, type Names, Numbering } from './term-differences.js'
import { UnitDifferences } from './units/differences.js'
import { UnitSample } from './units/sample.js'

/** A prompt in the form that the contrasts use. */
export interface CheckedPrompt {
  /** Name of the unit: the group, or the prompt itself. */
  unit: string
  group: string | undefined
  where: string
  run: PlacedRun
  /** The counterfactual's run; `run` if there is none. */
  other: PlacedRun
}

interface UnitRecord {
  differences: UnitDifferences
  /** Beginning of the unit's prompt; absent for groups. */
  beginning?: Beginning
}

/** The sums of one contrast, under one kind of rule. */
export class ContrastSums {
  readonly sample: UnitSample<UnitRecord>
  readonly names: Names = { tokens: new Numbering(), labels: new Numbering() }
  readonly classes = new Numbering<Label>()
  readonly keyRows = noKeyRows()
  readonly queries = { complete: 0, withoutPositive: 0, withoutNegative: 0 }
  /** Number of labelled positions of each class. */
  readonly classCounts: number[] = []
  /** Number of label sequences of each length. */
  readonly sequenceLengths = new Map<number, number>()
  readonly positionUnits = new Set<PositionUnit>()
  readonly groups = new Set<string>()
  prompts = 0
  terms = 0
  unplacedTerms = 0
  ungrouped = 0
  /** The common beginning of all prompts without a group. */
  template: Int32Array | undefined
  readonly contrast: string
  readonly rule: 'terms' | 'counterfactual' | 'labels'

  constructor(contrast: string, rule: 'terms' | 'counterfactual' | 'labels', seed: number) {
    this.contrast = contrast
    this.rule = rule
    this.sample = new UnitSample(MOST_UNITS, seed, () => ({ differences: new UnitDifferences() }))
  }

  get units(): number {
    return this.groups.size + this.ungrouped
  }

  /** Errors: ERR_POSITION, ERR_MATCH. */
  add(rule: TermRule, prompt: CheckedPrompt): void {
    const { run, group, unit } = prompt
    this.prompts += 1
    this.positionUnits.add(run.unit)
    if (group === undefined) {
      this.ungrouped += 1
      this.template = this.template
        ? this.template.subarray(0, commonLength(this.template, run.sequence))
        : run.sequence
    } else {
      this.groups.add(group)
    }
    const record = this.sample.take(unit)
    const firstPositive = rule.labels
      ? this.addSequence(rule.labels, record)
      : this.addTerms(rule, prompt, record)
    if (record && group === undefined && run.sequence.length > 0) {
      record.beginning = { sequence: run.sequence, firstPositive, where: prompt.where }
    }
  }

  /** Returns the first positive key. */
  private addTerms(
    rule: TermRule,
    { run, other, where }: CheckedPrompt,
    record: UnitRecord | undefined,
  ): number {
    const given = rule.terms ?? []
    const placed = given.flatMap((term, i) => placeTerm(term, run, other, `${where}: term ${i}`) ?? [])
    this.terms += given.length
    this.unplacedTerms += given.length - placed.length
    const { counterfactual } = rule
    countKeyRows(this.keyRows, placed, counterfactual)
    if (record) {
      for (const term of placed) {
        addTerm(record.differences, term, run, other, counterfactual, this.names)
      }
      if (counterfactual && run.length !== undefined && other.length !== undefined) {
        addLengths(record.differences, run.length, other.length)
      }
    }
    const positives = placed.flatMap(({ positive }) => positive.map(({ at }) => at))
    return positives.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY)
  }

  /** Returns the first labelled key. */
  private addSequence(labels: Labels, record: UnitRecord | undefined): number {
    const { query, key = query } = labels
    const counts = countQueries(labels)
    this.terms += counts.complete
    this.queries.complete += counts.complete
    this.queries.withoutPositive += counts.withoutPositive
    this.queries.withoutNegative += counts.withoutNegative
    for (const label of query) {
      if (label !== null) {
        const id = this.classes.of(label)
        this.classCounts[id] = (this.classCounts[id] ?? 0) + 1
      }
    }
    this.sequenceLengths.set(query.length, (this.sequenceLengths.get(query.length) ?? 0) + 1)
    if (record) {
      addLabels(record.differences, query, this.classes)
    }
    const first = key.findIndex((label) => label !== null)
    return first < 0 ? Number.POSITIVE_INFINITY : first
  }
}
