/** The variants of an intervention: edits in features and in their unions, and the controls. */

import { cooperator, type Turn } from '../backend/cooperate.js'
import { QkError } from '../errors.js'
import { type Basis, randomBasis, unionBasis } from '../math/basis.js'
import { seededRandom } from '../math/random.js'
import { keyBasis, meanQueryBasis, nullBasis, nullCount } from '../spectrum/nulls/control-bases.js'
import type { ContrastSubspace, Result } from '../store/result.js'

/**
 * Kinds of variants. The controls of `features` are: `null` subspaces (those of exchanged prompts), as many principal
 * components of the `keys`, the direction of the `mean query`, `random` (Haar) subspaces, and the `complement`. The
 * edit of `whole` rows is made once.
 */
export type VariantKind = 'features' | 'null' | 'keys' | 'mean query' | 'random' | 'complement' | 'whole'

/** One edit, the same in every head. */
export interface Variant {
  name: string
  kind: VariantKind
  /** Names of the contrasts. Empty for whole rows. */
  features: string[]
  /** Contrasts whose terms are edited. */
  contrasts: string[]
  /** Ranks by head, in the requested order. */
  ranks: number[]
  /** Spans, [draws][heads]: several draws of null and random subspaces, one draw otherwise. */
  draws: Basis[][]
  /** Whether everything except the spans is edited. */
  outside: boolean
  /** Whether the features span whole heads. Another subspace of their rank is then identical, and no control. */
  vacuous: boolean
}

export interface VariantOptions {
  side: 'key' | 'query'
  /** Each entry is the name of a contrast, or names whose subspaces are joined. */
  features: readonly (string | readonly string[])[]
  /** Contrast whose terms all edits use; default: each feature's own. */
  contrast?: string
  /** Most null subspaces of a feature. */
  nulls: number
  /** Number of random subspaces of a feature. */
  randoms: number
  seed: number
}

interface EditedHead {
  name: string
  headDim: number
}

/**
 * The edit of every feature with its controls, and once the edit of whole rows. Errors: ERR_UNKNOWN_HEAD,
 * ERR_UNKNOWN_CONTRAST, ERR_ARGUMENT.
 */
export async function editVariants(
  result: Result,
  heads: readonly EditedHead[],
  options: VariantOptions,
  signal?: AbortSignal,
): Promise<Variant[]> {
  const turn = cooperator(signal)
  const entries = options.features.map((entry) => (typeof entry === 'string' ? [entry] : [...entry]))
  const variants: Variant[] = []
  for (const names of entries) {
    variants.push(...(await featureVariants(result, heads, names, options, turn)))
  }
  const whole: Variant = {
    name: options.side === 'key' ? 'whole keys' : 'whole queries',
    kind: 'whole',
    features: [],
    contrasts: options.contrast === undefined ? [...new Set(entries.flat())] : [options.contrast],
    ranks: heads.map(({ headDim }) => headDim),
    draws: [heads.map(({ headDim }) => empty(headDim))],
    outside: true,
    vacuous: false,
  }
  return [...variants, whole]
}

async function featureVariants(
  result: Result,
  heads: readonly EditedHead[],
  names: string[],
  { side, contrast, nulls, randoms, seed }: VariantOptions,
  turn: Turn,
): Promise<Variant[]> {
  if (names.length === 0) {
    throw new QkError('ERR_ARGUMENT', 'a union of features names none')
  }
  const which = side === 'key' ? 'v' : 'u'
  const subspaces = heads.map((head) => names.map((name) => subspaceOf(result, head, name)))
  const bases = subspaces.map((own, h) =>
    unionBasis(own.map(({ [which]: data, rank }) => ({ data, shape: [heads[h].headDim, rank] }))),
  )
  const ranks = ranksOf(bases)
  const name = names.join(' + ')
  if (heads.length > 0 && ranks.every((rank) => rank === 0)) {
    throw new QkError(
      'ERR_ARGUMENT',
      `the subspaces of ${name} have rank 0 in ${heads.map((head) => head.name).join(', ')}`,
      {
        hint: 'There is nothing to edit: the test of rank found no more than noise. Take a head that is discovered, or decompose with the rule fixed or energy to look anyway.',
      },
    )
  }
  const vacuous = ranks.every((rank, h) => rank === heads[h].headDim)
  const common = {
    features: names,
    contrasts: contrast === undefined ? names : [contrast],
    outside: false,
    vacuous: false,
  }
  /** A control is left out if no head has it. */
  const control = (title: string, kind: VariantKind, draws: Basis[][]): Variant[] => {
    const own = draws.length > 0 ? ranksOf(draws[0]) : ranks
    const nothing = draws.length > 0 && own.every((rank) => rank === 0)
    return nothing ? [] : [{ ...common, name: title, kind, ranks: own, draws }]
  }
  /** Marks controls as vacuous if a subspace of the same rank is the whole head. */
  const sameRank = (variants: Variant[]): Variant[] =>
    variants.map((v) => ({ ...v, ranks: vacuous ? ranks : v.ranks, draws: vacuous ? [] : v.draws, vacuous }))
  const perHead = (make: (own: ContrastSubspace[], rank: number) => Basis | undefined) =>
    subspaces.map((own, h) => (ranks[h] > 0 ? make(own, ranks[h]) : undefined) ?? empty(heads[h].headDim))
  const random = seededRandom(seed)
  const count = Math.min(nulls, ...subspaces.filter((_, h) => ranks[h] > 0).map(nullCount))
  /** One basis per draw and head. Bases take a while, so the event loop runs in between. */
  const several = async (draws: number, make: (draw: number, head: number) => Basis) => {
    const all: Basis[][] = []
    for (let draw = 0; draw < draws; draw++) {
      const own: Basis[] = []
      for (const head of heads.keys()) {
        await turn()
        own.push(make(draw, head))
      }
      all.push(own)
    }
    return all
  }
  const drawnNulls = await several(count, (draw, h) =>
    unionBasis(subspaces[h].map((own) => nullBasis(own, which, draw))),
  )
  const drawnRandoms = await several(vacuous ? 0 : randoms, (_, h) => {
    const [d, rank] = bases[h].shape
    return randomBasis(d, rank, random)
  })
  return [
    { ...common, name, kind: 'features', ranks, draws: [bases] },
    ...(count > 0 ? sameRank(control(`null subspaces of ${name}`, 'null', drawnNulls)) : []),
    ...sameRank(control(`key components, rank of ${name}`, 'keys', [perHead(keyBasis)])),
    ...control(`mean query of ${name}`, 'mean query', [perHead(meanQueryBasis)]),
    ...sameRank(control(`random, rank of ${name}`, 'random', drawnRandoms)),
    {
      ...common,
      name: `all but ${name}`,
      kind: 'complement',
      ranks: ranks.map((rank, h) => heads[h].headDim - rank),
      draws: [bases],
      outside: true,
      vacuous,
    },
  ]
}

function subspaceOf(result: Result, { name, headDim }: EditedHead, contrast: string): ContrastSubspace {
  const found = result.head(name).contrast(contrast)
  if (found.headDim === headDim) {
    return found
  }
  throw new QkError(
    'ERR_ARGUMENT',
    `the result's head ${name} has dimension ${found.headDim}, the model's ${headDim}`,
    { hint: 'Was the result made from this model?' },
  )
}

/**
 * The projections [d, d] of one draw, by head. They are computed on demand, since those of all draws need much memory.
 */
export function projectionsOf({ draws, outside }: Variant, draw: number): Float32Array[] {
  return draws[draw].map((basis) =>
    outside ? complement(projection(basis), basis.shape[0]) : projection(basis),
  )
}

const ranksOf = (bases: readonly Basis[]): number[] => bases.map(({ shape }) => shape[1])

const empty = (d: number): Basis => ({ data: new Float64Array(0), shape: [d, 0] })

/** B B^T, [d, d]. */
function projection({ data, shape: [d, rank] }: Basis): Float32Array {
  const out = new Float32Array(d * d)
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) {
      let sum = 0
      for (let r = 0; r < rank; r++) {
        sum += data[i * rank + r] * data[j * rank + r]
      }
      out[i * d + j] = sum
    }
  }
  return out
}

/** I - P */
function complement(p: Float32Array, d: number): Float32Array {
  return p.map((x, at) => (at % (d + 1) === 0 ? 1 : 0) - x)
}
