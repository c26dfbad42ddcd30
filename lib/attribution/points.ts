/**
 * Queries and keys of terms as points inside a feature's subspaces, along their first four principal components
 * (paper, figures 3, 6 and 8). A sample of fixed size is kept of any number of points.
 */

import type { Turn } from '../backend/cooperate.js'
import type { CapturedPositions } from '../capture/terms/capture-term-runs.js'
import { type ChosenHead, requestsBySite } from '../capture/terms/chosen-heads.js'
import type { TermRun } from '../capture/terms/term-runs.js'
import type { Basis } from '../math/basis.js'
import { exceedsNull, type NullFigures, nullFigures } from '../math/null-limit.js'
import { seededRandom } from '../math/random.js'
import type { WireTensor } from '../model/inference/session.js'
import { tensorValues } from '../model/inference/values.js'
import type { Model } from '../model/model.js'
import { type TokenInContext, tokenInContext } from '../model/tokenizer/readable.js'
import { nullBasis, nullCount, type Side } from '../spectrum/nulls/control-bases.js'
import type { ContrastSubspace, Result } from '../store/result.js'
import { coordinates, labelShare, principalComponents } from './geometry.js'

/** The half of the term to which a query or key belongs. */
export type PointRole = 'positive' | 'negative'

/** The token of a point. */
export interface PointToken extends TokenInContext {
  /** Place of the prompt in its set: file and line, or its id or index. */
  where: string
  /** Its position in the prompt. */
  position: number
}

/** Separation of the labels of points inside a subspace, beside null subspaces. */
export interface LabelSeparation {
  /** Share of the variance inside the subspace that lies between the means of the labels. */
  value: number
  /** The same share inside null subspaces of the same rank. Null if the result has none. */
  nulls: NullFigures | null
  /** Whether the value is above the null subspaces' 95th percentile. Null if there are too few of them. */
  exceedsNull: boolean | null
}

/** Queries or keys; the same ones for every head. */
export interface PointCloud {
  /** Labels from the terms, [n]; null without one. */
  labels: (string | null)[]
  /** [n] */
  roles: PointRole[]
  /** [n]. Absent if the model has no tokenizer. */
  tokens?: PointToken[]
  /** Coordinates inside the subspace, by the name of the head. */
  heads: Record<
    string,
    {
      /** Rank of the subspace. */
      rank: number
      /** Share of each principal component in the variance inside the subspace; at most four. */
      shares: number[]
      /** [n, components], row-major, about their mean; rounded to four digits. */
      coordinates: number[]
      /** Absent with fewer than two labels. */
      separation?: LabelSeparation
    }
  >
}

/** By feature: queries inside its U, keys inside its V. */
export type AttributionPoints = Record<
  string,
  {
    /** Queries of terms inside the feature's query-side subspace. */
    query: PointCloud
    /** Keys of terms inside the feature's key-side subspace. */
    key: PointCloud
  }
>

const COMPONENTS = 4
/** Components with a smaller share of the variance are round-off. */
const LEAST_SHARE = 1e-9

/** One query or key, and where it was captured. */
interface Candidate {
  prompt: number
  half: 0 | 1
  position: number
  label: string | null
  role: PointRole
}

/**
 * Samples of the queries and keys of each feature. They come from terms of its own contrast if the prompts have it,
 * otherwise from all terms. The sample depends on the seed and the prompts, not on their batching.
 */
export class PointSamples {
  private readonly ofContrast: Map<string, Sides>
  private readonly ofAll: Sides

  constructor(
    private readonly model: Model,
    private readonly heads: readonly ChosenHead[],
    private readonly features: readonly string[],
    private readonly size: number,
    private readonly seed: number,
  ) {
    this.ofContrast = new Map(features.map((name) => [name, this.sides()]))
    this.ofAll = this.sides()
  }

  private sides(): Sides {
    return {
      query: new Sample(this.heads, this.size, this.seed),
      key: new Sample(this.heads, this.size, this.seed),
    }
  }

  /** A batch; the runs of its counterfactuals follow those of its items. */
  add(items: readonly TermRun[], sites: readonly CapturedPositions[]): void {
    const [q, k] = [capturedRows(sites, 'q', this.heads), capturedRows(sites, 'k', this.heads)]
    let donors = items.length
    items.forEach((item, own) => {
      const runs = [own, item.donor ? donors++ : own]
      const named = this.ofContrast.get(item.contrast)
      const token = (c: Candidate) => tokenOf(this.model, item, c)
      for (const sides of named ? [named, this.ofAll] : [this.ofAll]) {
        for (const c of queriesOf(item)) {
          sides.query.offer(c, token, (head) => q(head, runs[c.half], c.position))
        }
        for (const c of keysOf(item)) {
          sides.key.offer(c, token, (head) => k(head, runs[c.half], c.position))
        }
      }
    })
  }

  /** Errors: ERR_ABORTED. */
  async clouds(result: Result, turn: Turn, signal?: AbortSignal): Promise<AttributionPoints> {
    const found: AttributionPoints = {}
    for (const feature of this.features) {
      const own = this.ofContrast.get(feature)!
      const { query, key } = own.query.isEmpty ? this.ofAll : own
      found[feature] = {
        query: await query.cloud(result, feature, 'u', turn, signal),
        key: await key.cloud(result, feature, 'v', turn, signal),
      }
    }
    return found
  }
}

interface Sides {
  query: Sample
  key: Sample
}

/**
 * The candidates with the smallest hashes: a uniform sample without replacement, whatever their order. A candidate
 * that recurs, as in a prompt with several terms, counts once.
 */
class Sample {
  private readonly kept = new Map<
    string,
    Candidate & { priority: number; slot: number; token?: PointToken }
  >()
  /** Rows of each head, [size, d], in float32 like the model's output. */
  private readonly rows: Float32Array[]
  /** Largest priority that is kept, once the sample is full. */
  private limit = Number.POSITIVE_INFINITY

  constructor(
    private readonly heads: readonly ChosenHead[],
    private readonly size: number,
    private readonly seed: number,
  ) {
    this.rows = heads.map(() => new Float32Array(0))
  }

  get isEmpty(): boolean {
    return this.kept.size === 0
  }

  /** `token` and `row`, which takes the index of a head, are called only if the candidate is kept. */
  offer(
    candidate: Candidate,
    token: (of: Candidate) => PointToken | undefined,
    row: (head: number) => ArrayLike<number>,
  ): void {
    const { prompt, half, position, role, label } = candidate
    const key = JSON.stringify([prompt, half, position, role, label])
    if (this.kept.has(key)) {
      return
    }
    const priority = priorityOf(key, this.seed)
    if (priority >= this.limit) {
      return
    }
    const slot = this.kept.size < this.size ? this.kept.size : this.drop()
    this.kept.set(key, { ...candidate, priority, slot, token: token(candidate) })
    if (this.kept.size === this.size) {
      this.limit = this.last()[1].priority
    }
    this.heads.forEach(({ headDim: d }, h) => {
      if (this.rows[h].length === 0) {
        this.rows[h] = new Float32Array(this.size * d)
      }
      this.rows[h].set(row(h), slot * d)
    })
  }

  private last() {
    return [...this.kept].reduce((a, b) => (b[1].priority > a[1].priority ? b : a))
  }

  /** Frees the slot of the candidate of largest priority. */
  private drop(): number {
    const [key, { slot }] = this.last()
    this.kept.delete(key)
    return slot
  }

  async cloud(
    result: Result,
    feature: string,
    side: 'u' | 'v',
    turn: Turn,
    signal?: AbortSignal,
  ): Promise<PointCloud> {
    const kept = [...this.kept.values()].sort(
      (a, b) => a.prompt - b.prompt || a.half - b.half || a.position - b.position || a.slot - b.slot,
    )
    const heads: PointCloud['heads'] = {}
    const labels = kept.map(({ label }) => label)
    for (const [h, { name, headDim: d }] of this.heads.entries()) {
      const subspace = result.head(name).contrast(feature)
      const { rank, [side]: data } = subspace
      const rows = new Float64Array(kept.length * d)
      kept.forEach(({ slot }, i) => {
        rows.set(this.rows[h].subarray(slot * d, (slot + 1) * d), i * d)
      })
      heads[name] = {
        rank,
        ...(await projected(coordinates(rows, { data, shape: [d, rank] }), rank, signal)),
        ...(await separationOf(rows, subspace, side, labels, turn)),
      }
    }
    const tokens = kept.flatMap(({ token }) => token ?? [])
    return {
      labels,
      roles: kept.map(({ role }) => role),
      ...(tokens.length === kept.length && tokens.length > 0 && { tokens }),
      heads,
    }
  }
}

/** Most null subspaces in which separation is measured. */
const MOST_NULLS = 20

async function separationOf(
  rows: Float64Array,
  subspace: ContrastSubspace,
  side: Side,
  labels: readonly (string | null)[],
  turn: Turn,
): Promise<{ separation?: LabelSeparation }> {
  const { rank, headDim: d } = subspace
  const within = (basis: Basis) => labelShare(coordinates(rows, basis), basis.shape[1], labels)
  const value = rank === 0 ? null : within({ data: subspace[side], shape: [d, rank] })
  if (value === null) {
    return {}
  }
  const count = Math.min(nullCount([subspace]), MOST_NULLS)
  const draws: number[] = []
  for (let draw = 0; draw < count; draw++) {
    await turn()
    draws.push(within(nullBasis(subspace, side, draw)) ?? 0)
  }
  const nulls = nullFigures(draws)
  return { separation: { value, nulls, exceedsNull: exceedsNull(value, nulls?.p95 ?? null, count) } }
}

/** The token of a candidate. Undefined if the model takes no tokens, or has no tokenizer. */
function tokenOf(
  model: Model,
  { where, run, donor }: TermRun,
  { half, position }: Candidate,
): PointToken | undefined {
  const own = half === 0 ? run : donor!.run
  if (own.kind !== 'tokens' || !model.tokenizer || position >= own.ids.length) {
    return undefined
  }
  const { tokenizer } = model
  const [from, to] = [Math.max(0, position - REACH), position + REACH + 1]
  const words = Array.from(own.ids.slice(from, to), (id) => tokenizer.token(id))
  return { ...tokenInContext(words, position - from, REACH), where, position }
}

/** Tokens of context on either side. */
const REACH = 4

async function projected(
  inside: Float64Array,
  rank: number,
  signal?: AbortSignal,
): Promise<{ shares: number[]; coordinates: number[] }> {
  if (inside.length === 0) {
    return { shares: [], coordinates: [] }
  }
  const { scores, count, shares } = await principalComponents(inside, rank, COMPONENTS, signal)
  const real = shares.filter((share) => share > LEAST_SHARE)
  const rounded = (x: number) => Number(x.toPrecision(4))
  return {
    shares: real.map(rounded),
    coordinates: Array.from(
      scores.filter((_, at) => at % count < real.length),
      rounded,
    ),
  }
}

function queriesOf({ term, prompt, donor }: TermRun): Candidate[] {
  const { query, queryNeg, label = null, labelNeg = null } = term
  const own: Candidate = { prompt, half: 0, position: query, label, role: 'positive' }
  return donor ? [own, { prompt, half: 1, position: queryNeg, label: labelNeg, role: 'negative' }] : [own]
}

function keysOf({ term, prompt, donor }: TermRun): Candidate[] {
  const { positive, negative, label = null, negativeLabels } = term
  return [
    ...positive.map((position): Candidate => ({ prompt, half: 0, position, label, role: 'positive' })),
    ...negative.map((position, i): Candidate => {
      return { prompt, half: donor ? 1 : 0, position, label: negativeLabels?.[i] ?? null, role: 'negative' }
    }),
  ]
}

/** Uniform in [0, 1): FNV-1a of the key, spread by a generator. */
function priorityOf(key: string, seed: number): number {
  let hash = (0x811c9dc5 ^ seed) >>> 0
  for (let i = 0; i < key.length; i++) {
    hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193) >>> 0
  }
  return seededRandom(hash).next()
}

/** The row of a head, by its index among the chosen ones, at a run and position of a batch. */
function capturedRows(sites: readonly CapturedPositions[], which: 'q' | 'k', heads: readonly ChosenHead[]) {
  const places = requestsBySite(heads).flatMap(({ heads: own }, r) => {
    const tensor: WireTensor = sites[r][which]
    const values = tensorValues(tensor)
    return own.map((_, place) => ({ values, dims: tensor.dims, place }))
  })
  return (head: number, run: number, position: number): ArrayLike<number> => {
    const { values, dims, place } = places[head]
    const [, length, count, d] = dims
    const at = ((run * length + position) * count + place) * d
    return values.subarray(at, at + d)
  }
}
