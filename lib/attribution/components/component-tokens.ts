/**
 * Shows each component of a feature's subspace in tokens: the queries and keys with the highest and lowest projections
 * on it, in their prompts. The memory is constant for any number of prompts.
 */

import type { Turn } from '../../backend/cooperate.js'
import { type ChosenHead, requestsBySite } from '../../capture/terms/chosen-heads.js'
import type { TermRun } from '../../capture/terms/term-runs.js'
import type { Model } from '../../model/model.js'
import { tokenInContext } from '../../model/tokenizer/readable.js'
import type { Side } from '../../spectrum/nulls/control-bases.js'
import { type Added, Candidates } from './candidates.js'
import type { Component } from './directions.js'
import { Extremes } from './extremes.js'

/** A query or key at one end of a component. */
export interface Extreme {
  /** Place of the prompt in its set: file and line, or its id or index. */
  where: string
  /** Index of the prompt in the set, from 0. */
  prompt: number
  /** Position of the token in the prompt, from 0. */
  position: number
  /** Text of the token, or `#id` without a tokenizer, with plain spaces. */
  token: string
  /** The tokens before it, at most six, as text: `before + token + after` reads on. */
  before: string
  /** The tokens after it, at most six, as text. */
  after: string
  /** Its projection, in standard deviations from the mean over all candidates of this side and component. */
  value: number
  /** Label from a term; null if no term gives one. */
  label: string | null
  /** Role of a key in a term: positive or negative. Null for other keys, and for queries. */
  role: 'positive' | 'negative' | null
}

/** Tokens of the vocabulary at the ends of a direction. */
export interface Reads {
  /** The highest projections, in descending order. */
  top: ReadToken[]
  /** The lowest projections, in ascending order. */
  bottom: ReadToken[]
}

/** One token of the vocabulary. */
export interface ReadToken {
  /** Text of the token. */
  token: string
  /** Projection of its embedding, in standard deviations from the mean over the vocabulary. */
  value: number
}

/** Tokens of one component of one head on one side. */
export interface ComponentTokens {
  /** Number of the component, from 1, in the order of the singular values. */
  component: number
  /**
   * Components, from 1, that the data cannot separate from it, itself included. A single direction is meaningful only
   * in a block of one.
   */
  block: number[]
  /**
   * The highest projections, in descending order. For queries: those of terms, each prompt at most once. For keys: all
   * positions that a term's query may attend to. Of several keys with the same token and context, one is kept.
   */
  top: Extreme[]
  /** The lowest projections, in ascending order. */
  bottom: Extreme[]
  /** The same component of the result's first null subspace. Absent if the result has none. */
  null?: {
    /** The highest projections. */
    top: Extreme[]
    /** The lowest projections. */
    bottom: Extreme[]
    /** Tokens of the vocabulary that the null's direction reads. Absent if the component's are. */
    reads?: Reads
  }
  /**
   * Tokens of the vocabulary that the direction reads. Absent if they were not requested or could not be determined.
   */
  reads?: Reads
}

/** By feature: components of the query and of the key side, each by the name of the head. */
export type AttributionComponents = Record<
  string,
  {
    /** Directions of U, over queries. */
    query: Record<string, ComponentTokens[]>
    /** Directions of V, over keys. */
    key: Record<string, ComponentTokens[]>
  }
>

/** Queries [runs, tokens, heads, d] and keys of one site, as captured. */
export interface CapturedRows {
  q: Float64Array
  k: Float64Array
  dims: { q: readonly number[]; k: readonly number[] }
}

/** Number of candidates that are kept at each end. */
export const ENDS = 5
/** Tokens of context on either side. */
const REACH = 6

type Candidate = Omit<Extreme, 'value'> & { text: string }

/** One direction over the candidates of its side. */
interface Column {
  feature: string
  direction: Float64Array
  extremes: Extremes<Candidate>
}

/** The columns of one head. */
interface HeadColumns {
  site: number
  place: number
  causal: boolean
  query: Column[]
  key: Column[]
}

/** A term of the batch at hand. */
interface BatchTerm {
  item: TermRun
  run: number
  /** By feature that takes it. */
  added: Map<string, Added>
  describe(position: number): Candidate
}

/** Collects the ends of every component, batch by batch. */
export class ComponentExtremes {
  private readonly heads: HeadColumns[]
  private readonly columns: { query: Column; key: Column; null?: { query: Column; key: Column } }[]
  private readonly candidates: Map<string, Candidates>
  private batch: BatchTerm[] = []

  /**
   * `own`: the features whose candidates are limited to terms of their own contrast. The other features use all terms.
   */
  constructor(
    private readonly model: Model,
    private readonly chosen: readonly ChosenHead[],
    private readonly components: readonly Component[],
    private readonly own: ReadonlySet<string>,
    batchSize: number,
  ) {
    const places = requestsBySite(chosen).flatMap(({ site, heads }, r) =>
      heads.map((_, place): HeadColumns => {
        return { site: r, place, causal: site.causal, query: [], key: [] }
      }),
    )
    this.heads = places
    this.columns = components.map(({ feature, head, directions, null: nulls }) => {
      const of = (bases: Record<Side, Float64Array>) => {
        const query = column(feature, bases.u, true)
        const key = column(feature, bases.v, false)
        places[head].query.push(query)
        // Keys of cross attention belong to another sequence than the prompt.
        if (!chosen[head].site.cross) {
          places[head].key.push(key)
        }
        return { query, key }
      }
      return { ...of(directions), ...(nulls && { null: of(nulls) }) }
    })
    this.candidates = new Map(components.map(({ feature }) => [feature, new Candidates(batchSize)]))
  }

  /** Starts the next batch with its terms; the rows of each site follow. */
  begin(items: readonly TermRun[]): void {
    this.batch = items.map((item, run) => {
      const added = new Map<string, Added>()
      for (const [feature, candidates] of this.candidates) {
        const takes = !this.own.has(feature) || feature === item.contrast
        if (takes) {
          added.set(feature, candidates.add(item))
        }
      }
      return { item, run, added, describe: describer(this.model, item) }
    })
  }

  /** Rows of a site, by its place among the captured ones. Yields to the event loop through `turn`. */
  async add(site: number, rows: CapturedRows, turn: Turn): Promise<void> {
    for (const head of this.heads) {
      if (head.site !== site) {
        continue
      }
      for (const term of this.batch) {
        for (const one of head.query) {
          takeQuery(one, term, rows, head.place)
        }
        for (const one of head.key) {
          takeKeys(one, term, rows, head)
        }
        await turn()
      }
    }
  }

  /** What was found, with what `reads` says of each component, by its place in the list and its side. */
  async report(
    reads: (component: number, side: 'query' | 'key') => { own?: Reads; null?: Reads } | undefined,
    turn: Turn,
  ): Promise<AttributionComponents> {
    const found: AttributionComponents = {}
    for (const [i, { feature, head, index, block }] of this.components.entries()) {
      found[feature] ??= { query: {}, key: {} }
      const { name, site } = this.chosen[head]
      await turn()
      for (const side of ['query', 'key'] as const) {
        if (side === 'key' && site.cross) {
          continue
        }
        const { [side]: own, null: nulls } = this.columns[i]
        const read = reads(i, side)
        const ofHeads = found[feature][side]
        ofHeads[name] ??= []
        ofHeads[name].push({
          component: index + 1,
          block: block.map((c) => c + 1),
          ...ends(own),
          ...(nulls && { null: { ...ends(nulls[side]), ...(read?.null && { reads: read.null }) } }),
          ...(read?.own && { reads: read.own }),
        })
      }
    }
    return found
  }
}

function column(feature: string, direction: Float64Array, oncePerPrompt: boolean): Column {
  return { feature, direction, extremes: new Extremes(ENDS, { oncePerPrompt }) }
}

function takeQuery(
  { feature, direction, extremes }: Column,
  term: BatchTerm,
  rows: CapturedRows,
  place: number,
) {
  const added = term.added.get(feature)
  if (!added?.query) {
    return
  }
  const { query, term: encoded } = term.item
  const [, positions, heads, d] = rows.dims.q
  const value = along(direction, rows.q, ((term.run * positions + query) * heads + place) * d)
  extremes.take(value, () => ({ ...term.describe(query), label: encoded.label ?? null, role: null }))
}

function takeKeys(
  { feature, direction, extremes }: Column,
  term: BatchTerm,
  rows: CapturedRows,
  head: HeadColumns,
) {
  const added = term.added.get(feature)
  const { item, run } = term
  if (!added || item.run.kind !== 'tokens') {
    return
  }
  const [, positions, heads, d] = rows.dims.k
  const end = head.causal ? item.query + 1 : item.run.ids.length
  for (let key = added.firstKey[head.causal ? 'causal' : 'whole']; key < end; key++) {
    const value = along(direction, rows.k, ((run * positions + key) * heads + head.place) * d)
    extremes.take(value, () => ({ ...term.describe(key), ...saidOf(item, key) }))
  }
  if (!added.again) {
    return
  }
  // A later term of the prompt may label a key that an earlier one did not.
  for (const kept of extremes.kept) {
    if (kept.prompt === item.prompt && kept.role === null) {
      Object.assign(kept, saidOf(item, kept.position))
    }
  }
}

function saidOf({ term, donor }: TermRun, key: number): Pick<Extreme, 'label' | 'role'> {
  if (term.positive.includes(key)) {
    return { label: term.label ?? null, role: 'positive' }
  }
  // The negative keys of a counterfactual term belong to another prompt.
  const at = donor ? -1 : term.negative.indexOf(key)
  if (at < 0) {
    return { label: null, role: null }
  }
  return { label: term.negativeLabels?.[at] ?? null, role: 'negative' }
}

function along(direction: Float64Array, rows: Float64Array, at: number): number {
  let sum = 0
  for (let i = 0; i < direction.length; i++) {
    sum += direction[i] * rows[at + i]
  }
  return sum
}

/** Describes positions of a prompt, each once. */
function describer({ tokenizer }: Model, { where, prompt, run }: TermRun): (position: number) => Candidate {
  const known = new Map<number, Candidate>()
  let words: string[] | undefined
  return (position) => {
    const found = known.get(position)
    if (found) {
      return found
    }
    const ids = run.kind === 'tokens' ? run.ids : []
    words ??= ids.map((id) => tokenizer?.token(id) ?? `#${id}`)
    const { token, before, after } = tokenInContext(words, position, REACH)
    const text = JSON.stringify([token, before, after])
    const made = { where, prompt, position, token, before, after, label: null, role: null, text }
    known.set(position, made)
    return made
  }
}

function ends({ extremes }: Column): { top: Extreme[]; bottom: Extreme[] } {
  const { top, bottom } = extremes.ends
  const shown = ({ item: { text, ...rest }, value }: { item: Candidate; value: number }): Extreme => {
    const { where, prompt, position, token, before, after, label, role } = rest
    return { where, prompt, position, token, before, after, value: rounded(value), label, role }
  }
  return { top: top.map(shown), bottom: bottom.map(shown) }
}

export const rounded = (value: number) => Number(value.toPrecision(DIGITS))
const DIGITS = 6
