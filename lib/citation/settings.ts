/** The settings of a result or a sweep, as stored in its file. Nothing is filled in: missing settings are named. */

import path from 'node:path'
import type { RankRule } from '../store/result.js'
import type { CitedSource } from './read-source.js'

/** Fields are null if the file does not give them. */
export interface CitedSettings {
  /** Whether the file is of `decompose` or of `sweep`. */
  kind: 'result' | 'sweep'
  /** The model's file. */
  model: {
    /** Name of the first file of the model. */
    name: string | null
    /** SHA-256 of the file, in hexadecimal digits. */
    sha256: string | null
  }
  /** The prompt set. */
  prompts: {
    /** Name of its file. */
    name: string | null
    /** SHA-256 of the set, in hexadecimal digits. */
    sha256: string | null
    /** Number of prompts. */
    prompts: number | null
    /** The contrasts, in the order of the result. */
    contrasts: {
      /** Name of the contrast. */
      name: string
      /** How it is defined: terms, counterfactual or labels. */
      rule: string | null
    }[]
  }
  /** How terms were averaged: `per-query`, `per-pair` or `sum`. */
  estimator: string | null
  /** Whether queries and keys were centred. */
  center: boolean | null
  /** The rule that chose the ranks. */
  rank: RankRule | null
  /** Settings of the rank test; null if there was none. */
  test: CitedTest | null
  /** Limits for a role in a sweep. */
  roleRule: {
    /** Attention on a positive key over that on a negative one, at least. */
    factor: number
    /** Attention on all positive keys of a query, at least; a fraction. */
    attention: number
  } | null
  /** Seed of the decomposition and of the test. */
  seed: number | null
  /** The backend that computed the result. */
  backend: {
    /** Name of the backend: `js`, `cpu` or `cuda`. */
    name: string | null
    /** Instruction set, as in `avx2`. */
    instructionSet: string | null
  }
  /** Versions of the software. */
  versions: {
    /** Version of qkspace. */
    qkspace: string | null
    /** Version of Node. */
    node: string | null
    /** Version of onnxruntime-node, which ran the model. */
    onnxruntime: string | null
  }
  /** Names of the settings that the file does not give. */
  missing: string[]
}

/** Summary of the rank test over all heads and contrasts. */
export interface CitedTest {
  /** Hypothesis that was tested: `effect` or `interaction`. */
  hypothesis: string | null
  /** Numbers of draws over all heads and contrasts: the fewest and the most. */
  draws: {
    /** Fewest draws of any head and contrast. */
    fewest: number
    /** Most draws of any head and contrast. */
    most: number
  } | null
  /** Units that were exchanged, by contrast. */
  units: Record<string, number>
  /** Heads and contrasts that were tested. */
  tested: number
  /** How many of them were discovered. */
  discovered: number
  /** Of the discovered; null where the file has no replication. */
  replicated: number | null
  /** Whether q-values over heads and contrasts are in the file. */
  corrected: boolean
}

type Json = Record<string, unknown>

const object = (value: unknown): Json => (typeof value === 'object' && value !== null ? (value as Json) : {})
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])

/** Reads values of a document by their type, and notes the names of missing ones. */
class Reader {
  readonly missing: string[] = []

  text(value: unknown, what: string): string | null {
    return typeof value === 'string' && value !== '' ? value : this.#lacks(what)
  }

  number(value: unknown, what: string): number | null {
    return typeof value === 'number' && Number.isFinite(value) ? value : this.#lacks(what)
  }

  flag(value: unknown, what: string): boolean | null {
    return typeof value === 'boolean' ? value : this.#lacks(what)
  }

  #lacks(what: string): null {
    this.missing.push(what)
    return null
  }
}

export function citedSettings({ kind, document, sweep }: CitedSource): CitedSettings {
  const read = new Reader()
  const model = object(document.model)
  const prompts = object(document.prompts)
  const backend = object(document.backend)
  const versions = object(document.versions)
  const definitions = object(prompts.definitions)
  const source = read.text(prompts.source, 'the name of the prompt set')
  const rank = rankOf(document, sweep, read)
  return {
    kind,
    model: {
      name: read.text(modelName(model), 'the name of the model'),
      sha256: read.text(model.sha256, 'the SHA-256 of the model'),
    },
    prompts: {
      name: source === null ? null : path.basename(source),
      sha256: read.text(prompts.sha256, 'the SHA-256 of the prompt set'),
      prompts: read.number(prompts.prompts, 'the number of prompts'),
      contrasts: list(prompts.contrasts)
        .filter((name) => typeof name === 'string')
        .map((name) => ({ name, rule: read.text(object(definitions[name]).rule, `the rule of "${name}"`) })),
    },
    estimator: read.text(document.estimator, 'the estimator'),
    center: read.flag(document.center, 'whether covariances were centred'),
    rank,
    test: testOf(document, sweep, rank, read),
    roleRule: sweep ? roleRuleOf(sweep, read) : null,
    seed: read.number(document.seed, 'the seed'),
    backend: {
      name: read.text(backend.name, 'the backend'),
      instructionSet: read.text(backend.instructionSet, 'the instruction set'),
    },
    versions: {
      qkspace: read.text(versions.qkspace, 'the version of qkspace'),
      node: read.text(versions.node, 'the version of Node'),
      onnxruntime: read.text(versions['onnxruntime-node'], 'the version of onnxruntime'),
    },
    missing: read.missing,
  }
}

function modelName(model: Json): unknown {
  const { name } = object(list(model.files)[0])
  return name ?? (typeof model.path === 'string' ? path.basename(model.path) : undefined)
}

/** Sweeps of earlier versions store only the level. */
function rankOf(document: Json, sweep: Json | undefined, read: Reader): RankRule | null {
  const rank = object(document.rank)
  if (rank.rule === 'permutation') {
    const level = read.number(rank.alpha ?? sweep?.alpha, 'the level of the test')
    const draws = optionalNumber(rank.draws)
    const mostDraws = optionalNumber(rank.mostDraws)
    return {
      rule: 'permutation',
      ...(level !== null && { alpha: level }),
      ...(draws !== undefined && { draws }),
      ...(mostDraws !== undefined && { mostDraws }),
    }
  }
  if (rank.rule === 'energy' && typeof rank.threshold === 'number') {
    return { rule: 'energy', threshold: rank.threshold }
  }
  if (rank.rule === 'fixed' && typeof rank.rank === 'number') {
    return { rule: 'fixed', rank: rank.rank }
  }
  if (typeof sweep?.alpha === 'number') {
    return { rule: 'permutation', alpha: sweep.alpha }
  }
  read.text(undefined, 'the rank rule')
  return null
}

const optionalNumber = (value: unknown) => (typeof value === 'number' ? value : undefined)

/** The test of one head and contrast, from either form of a document. */
interface HeadTest {
  contrast: string
  test: Json
}

/** Documents have `heads` with one test each, or rows that contain the fields of the test. */
function headTests(document: Json): HeadTest[] {
  const rows = list(document.rows).map(object)
  if (rows.length > 0) {
    return rows
      .filter(({ discovered }) => typeof discovered === 'boolean')
      .map((row) => ({ contrast: `${row.contrast}`, test: row }))
  }
  return Object.values(object(document.heads)).flatMap((contrasts) =>
    Object.entries(object(contrasts)).flatMap(([contrast, own]) => {
      const { test } = object(own)
      return test ? [{ contrast, test: object(test) }] : []
    }),
  )
}

function testOf(
  document: Json,
  sweep: Json | undefined,
  rank: RankRule | null,
  read: Reader,
): CitedTest | null {
  if (rank !== null && rank.rule !== 'permutation') {
    return null
  }
  const tests = headTests(document)
  if (tests.length === 0) {
    if (rank !== null) {
      read.text(undefined, 'the tests of heads')
    }
    return null
  }
  const numbers = (of: (test: Json) => unknown) =>
    tests.map(({ test }) => of(test)).filter((value): value is number => typeof value === 'number')
  const draws = numbers(({ draws }) => draws)
  if (draws.length === 0) {
    read.number(undefined, 'the draws of the test')
  }
  const units: Record<string, number> = {}
  for (const { contrast, test } of tests) {
    if (typeof test.units === 'number') {
      units[contrast] = Math.max(units[contrast] ?? 0, test.units)
    }
  }
  if (Object.keys(units).length === 0) {
    read.number(undefined, 'the units of the test')
  }
  const found = tests.filter(({ test }) => test.discovered === true)
  const replicates = tests.some(({ test }) => 'replication' in test)
  if (!replicates) {
    read.text(undefined, 'replication between halves of the units')
  }
  const corrected = numbers(({ q }) => q).length > 0
  if (!corrected) {
    read.text(undefined, 'the correction over heads and contrasts')
  }
  return {
    hypothesis: read.text(tests[0].test.hypothesis ?? sweep?.hypothesis, 'the hypothesis of the test'),
    draws: draws.length === 0 ? null : { fewest: least(draws), most: most(draws) },
    units,
    tested: tests.length,
    discovered: found.length,
    replicated: replicates
      ? found.filter(({ test }) => object(test.replication).replicated === true).length
      : null,
    corrected,
  }
}

const least = (values: readonly number[]) => values.reduce((a, b) => Math.min(a, b))
const most = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b))

function roleRuleOf(sweep: Json, read: Reader): CitedSettings['roleRule'] {
  const { factor, attention } = object(sweep.roleRule)
  if (typeof factor === 'number' && typeof attention === 'number') {
    return { factor, attention }
  }
  read.text(undefined, 'the rule of roles')
  return null
}
