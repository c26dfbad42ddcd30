/**
 * The rank test over many heads and contrasts: which have a ΔC larger than that of random signs, and how many
 * components it has (docs/method.md, Rank 4 to 10).
 */

import type { BackendChoice } from '../../backend/select.js'
import { FEW_UNITS, SYMMETRIC_UNITS } from '../../contrast/unit-limits.js'
import { QkError, throwIfAborted } from '../../errors.js'
import { mapInPairs } from '../../math/pairs.js'
import type { RankTest } from '../../store/rank-test.js'
import { counted } from '../../validate.js'
import { type HeadComponents, testComponents } from './components.js'
import type { Hypothesis, NullData } from './exchange/null-source.js'
import { adjustedByMaximum, adjustedByRate, atMost } from './false-discovery.js'
import { gammaTail } from './gamma-tail.js'
import { drawUntil, screen, stagesForLevel, stagesFrom, type Tally } from './growing-draws.js'
import { nearTies } from './near-ties.js'
import { type Replica, replicas, replicated } from './replication.js'

/** Heads that share rows and units. */
export interface TestSubject {
  /** Name in messages. */
  name: string
  data: NullData
  /** Whether `interaction` can be tested. */
  interaction: boolean
}

export interface TestSettings {
  /** The hypothesis that determines the ranks. */
  hypothesis: Hypothesis
  alpha: number
  /** Draws of every head. Heads with few exceedances continue. */
  draws: number
  /** Most draws of a head. */
  mostDraws: number
  seed: number
  backend?: BackendChoice
  signal?: AbortSignal
  onProgress?: (progress: { done: number; total: number }) => void
}

/** Intermediate state of a head and contrast in the test. */
interface Entry {
  subject: TestSubject
  head: number
  units: number
  tally: Tally
  otherP: number | null
  replicas: [Replica | undefined, Replica | undefined]
}

/** Number of stages of draws for the other hypothesis, whose p is reported without adjustment. */
const BESIDE = 2

/** Warnings about the number of units. Errors: ERR_FEW_UNITS if no outcome could be significant. */
export function unitWarnings(subjects: readonly TestSubject[], alpha: number): string[] {
  return subjects.flatMap(({ name, data }) => {
    const count = data.units.length
    if (data.leastP > alpha) {
      throw new QkError(
        'ERR_FEW_UNITS',
        `${name}: ${count} unit${count === 1 ? '' : 's'} that can be exchanged cannot reach p <= ${alpha}`,
        {
          hint: `It takes ${counted(Math.ceil(1 - Math.log2(alpha)), 'unit')}, as a rule prompts, whose signs can be turned, or some label sequences of equal length; or describe ΔC with the rule energy or fixed.`,
        },
      )
    }
    if (count < FEW_UNITS) {
      return [`${name}: only ${counted(count, 'unit')}; the test has little power`]
    }
    if (count < SYMMETRIC_UNITS && data.assumesSymmetry) {
      return [
        `${name}: ${counted(count, 'unit')}; p assumes symmetric unit contributions (at 100 it matters little)`,
      ]
    }
    return []
  })
}

/** Tests every head of every subject: [subjects][heads]. Errors: ERR_FEW_UNITS, ERR_ABORTED, those of backends. */
export async function testHeads(
  subjects: readonly TestSubject[],
  settings: TestSettings,
): Promise<RankTest[][]> {
  // Each subject has two steps: the screening, and the work that determines ranks.
  const total = 2 * subjects.length
  const onProgress = ({ done }: { done: number }) => settings.onProgress?.({ done, total })
  const entries = await screenSubjects(subjects, { ...settings, onProgress })
  const { unresolved } = await continueDraws(entries, settings)
  const verdict = discoveries(entries, settings.alpha, unresolved)
  const tests: RankTest[][] = []
  for (const [i, subject] of subjects.entries()) {
    const own = [...entries.keys()].filter((e) => entries[e].subject === subject)
    tests.push(await rankSubject(subject, own, entries, verdict, settings))
    settings.onProgress?.({ done: subjects.length + i + 1, total })
  }
  return tests
}

/** The first draws of every head, and further draws of heads with few exceedances. Errors: as `testHeads`. */
export async function screenSubjects(
  subjects: readonly TestSubject[],
  settings: TestSettings,
): Promise<Entry[]> {
  let done = 0
  const found = await mapInPairs(subjects, async (subject) => {
    const own = await screenSubject(subject, settings)
    done += 1
    settings.onProgress?.({ done, total: subjects.length })
    return own
  })
  return found.flat()
}

async function screenSubject(subject: TestSubject, settings: TestSettings): Promise<Entry[]> {
  const { data, interaction } = subject
  const { hypothesis, draws, mostDraws, signal } = settings
  throwIfAborted(signal)
  const heads = Array.from({ length: data.heads }, (_, h) => h)
  const stages = stagesFrom(draws, mostDraws)
  const screenOf = async (which: Hypothesis, upTo: readonly number[]) => {
    const source = await data.source(which)
    try {
      return { tallies: await screen(source, heads, upTo, signal), units: source.units.length }
    } finally {
      source.release()
    }
  }
  const main = await screenOf(hypothesis, stages)
  const other: Hypothesis = hypothesis === 'effect' ? 'interaction' : 'effect'
  const beside =
    other === 'effect' || interaction ? await screenOf(other, stages.slice(0, BESIDE)) : undefined
  const [forth, back] = await replicas(data, settings)
  return heads.map((head) => ({
    subject,
    head,
    units: main.units,
    tally: main.tallies[head],
    otherP: beside ? beside.tallies[head].p : null,
    replicas: [forth[head], back[head]],
  }))
}

/**
 * Heads without an exceedance continue until their p can be small enough after correction over all heads, or until the
 * limit. Heads at the limit are `unresolved`, with the number of draws that they need.
 */
async function continueDraws(
  entries: readonly Entry[],
  { alpha, mostDraws, hypothesis, signal }: TestSettings,
): Promise<{ unresolved: Map<Entry, number> }> {
  const unresolved = new Map<Entry, number>()
  for (;;) {
    const extreme = entries.filter(({ tally }) => tally.exceedances === 0)
    const needed = Math.ceil(entries.length / (alpha * extreme.length)) - 1
    const short = extreme.filter(({ tally }) => tally.draws < needed)
    if (extreme.length === 0 || short.length === 0) {
      return { unresolved }
    }
    if (needed > mostDraws) {
      for (const entry of short) {
        unresolved.set(entry, needed)
      }
      return { unresolved }
    }
    for (const subject of new Set(short.map((entry) => entry.subject))) {
      const source = await subject.data.source(hypothesis)
      try {
        const own = short.filter((entry) => entry.subject === subject)
        for (const had of new Set(own.map(({ tally }) => tally.draws))) {
          const alike = own.filter(({ tally }) => tally.draws === had)
          await drawUntil(
            source,
            alike.map(({ head }) => head),
            alike.map(({ tally }) => [tally]),
            needed,
            {
              had,
              signal,
            },
          )
        }
      } finally {
        source.release()
      }
    }
  }
}

interface Verdict {
  q: Float64Array
  qAnyDependence: Float64Array
  pMaximum: Float64Array
  discovered: boolean[]
  /** alpha R / m, with R discoveries among m tests. */
  level: number
  replications: ReturnType<typeof replicated>
  unresolved: ReadonlyMap<Entry, number>
}

function discoveries(
  entries: readonly Entry[],
  alpha: number,
  unresolved: ReadonlyMap<Entry, number>,
): Verdict {
  const p = entries.map(({ tally }) => tally.p)
  const q = adjustedByRate(p)
  const pMaximum = adjustedByMaximum(
    entries.map(({ tally }) => tally.observed),
    entries.map(({ tally }) => tally.kept),
  )
  const discovered = entries.map((entry, i) => {
    return atMost(q[i], alpha) || (unresolved.has(entry) && atMost(pMaximum[i], alpha))
  })
  const found = discovered.filter(Boolean).length
  return {
    q,
    qAnyDependence: adjustedByRate(p, true),
    pMaximum,
    discovered,
    level: (alpha * found) / entries.length,
    replications: replicated(
      entries.map(({ replicas: [forth] }) => forth),
      entries.map(({ replicas: [, back] }) => back),
      alpha,
    ),
    unresolved,
  }
}

async function rankSubject(
  { data }: TestSubject,
  own: readonly number[],
  entries: readonly Entry[],
  verdict: Verdict,
  settings: TestSettings,
): Promise<RankTest[]> {
  const { alpha, draws, mostDraws, hypothesis, signal, backend } = settings
  throwIfAborted(signal)
  const chosen = own.filter((e) => verdict.discovered[e] || entries[e].tally.p <= alpha)
  const components = new Map<number, HeadComponents & { blocks: number[][]; rank: number }>()
  if (chosen.length > 0) {
    const source = await data.source(hypothesis)
    try {
      const stages = stagesForLevel(stagesFrom(draws, mostDraws), verdict.level || alpha, mostDraws)
      const found = await testComponents(
        source,
        chosen.map((e) => entries[e].head),
        chosen.map((e) => entries[e].tally),
        { alpha, stages, backend, signal },
      )
      for (const [i, e] of chosen.entries()) {
        const rank = verdict.discovered[e] ? Math.max(1, countUntil(found[i].p, verdict.level)) : 0
        const blocks = await nearTies(source, entries[e].head, found[i], rank, signal)
        components.set(e, { ...found[i], rank, blocks })
      }
    } finally {
      source.release()
    }
  }
  return own.map((e) => describe(entries[e], e, components.get(e), verdict, settings))
}

function describe(
  entry: Entry,
  index: number,
  components: (HeadComponents & { blocks: number[][]; rank: number }) | undefined,
  verdict: Verdict,
  { hypothesis, alpha }: TestSettings,
): RankTest {
  const { tally, otherP, units } = entry
  const { observed, kept, p } = tally
  const needs = verdict.unresolved.get(entry)
  const tail = gammaTail(observed, kept)
  return {
    hypothesis,
    p: hypothesis === 'effect' ? { effect: p, interaction: otherP } : { effect: otherP, interaction: p },
    q: verdict.q[index],
    qAnyDependence: verdict.qAnyDependence[index],
    pMaximum: verdict.pMaximum[index],
    discovered: verdict.discovered[index],
    ...(needs !== undefined && !verdict.discovered[index] && { unresolvedNeeds: needs }),
    statistic: observed,
    null: tally.nullValues,
    extrapolatedP: Number.isNaN(tail) ? null : tail,
    draws: tally.draws,
    units,
    rank: components?.rank ?? 0,
    unadjustedRank: components ? countUntil(components.p, alpha) : 0,
    level: verdict.level,
    componentP: components?.p ?? [p],
    componentNull: components?.nulls ?? [tally.nullValues],
    blocks: components?.blocks ?? [],
    replication: verdict.replications[index] ?? null,
  }
}

/** Number of values before the first one above a level. */
function countUntil(values: readonly number[], level: number): number {
  const above = values.findIndex((value) => !atMost(value, level))
  return above < 0 ? values.length : above
}
