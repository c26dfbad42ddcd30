/** The edits of an intervention: in features, in their unions, and the controls beside them. */

import { QkError } from '../errors.js'
import { type Basis, randomBasis, unionBasis } from '../math/basis.js'
import { seededRandom } from '../math/random.js'
import type { Result } from '../store/result.js'

export type VariantKind = 'features' | 'random' | 'complement' | 'whole'

/** What is edited in every head, as symmetric projections. */
export interface Variant {
  name: string
  kind: VariantKind
  /** Names of the contrasts; none for the whole rows. */
  features: string[]
  /** By head, in the order asked for. */
  ranks: number[]
  /** One for a feature; as many as there are draws for the random control. [draws][heads], each [d, d]. */
  projections: Float32Array[][]
  /** The features span whole heads: a random subspace of their rank is the same, and says nothing. */
  vacuous: boolean
}

export interface VariantOptions {
  side: 'key' | 'query'
  /** Each the name of a contrast, or names whose subspaces are joined. */
  features: readonly (string | readonly string[])[]
  /** Random subspaces a feature. */
  randoms: number
  seed: number
}

/**
 * For every feature the edit in it, in as many random (Haar) subspaces of its rank as asked for, and in its
 * complement; once, the edit of whole rows. Errors: ERR_UNKNOWN_HEAD, ERR_UNKNOWN_CONTRAST, ERR_ARGUMENT.
 */
export function editVariants(
  result: Result,
  heads: readonly { name: string; headDim: number }[],
  { side, features, randoms, seed }: VariantOptions,
): Variant[] {
  const variants = features.flatMap((entry): Variant[] => {
    const names = typeof entry === 'string' ? [entry] : [...entry]
    if (names.length === 0) throw new QkError('ERR_ARGUMENT', 'a union of features names none')
    const bases = heads.map(({ name, headDim }) => {
      const sets = names.map((contrast) => {
        const found = result.head(name).contrast(contrast)
        if (found.headDim !== headDim) {
          throw new QkError(
            'ERR_ARGUMENT',
            `the result's head ${name} has dimension ${found.headDim}, the model's ${headDim}`,
            { hint: 'Was the result made from this model?' },
          )
        }
        return { data: side === 'key' ? found.v : found.u, shape: [headDim, found.rank] as [number, number] }
      })
      return unionBasis(sets)
    })
    const ranks = bases.map((basis) => basis.shape[1])
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
    const vacuous = ranks.every((rank, i) => rank === heads[i].headDim)
    const random = seededRandom(seed)
    const draws = Array.from({ length: vacuous ? 0 : randoms }, () =>
      bases.map(({ shape: [d, rank] }) => projection(randomBasis(d, rank, random))),
    )
    const own = bases.map(projection)
    return [
      { name, kind: 'features', features: names, ranks, projections: [own], vacuous: false },
      {
        name: `random, rank of ${name}`,
        kind: 'random',
        features: names,
        ranks,
        projections: draws,
        vacuous,
      },
      {
        name: `all but ${name}`,
        kind: 'complement',
        features: names,
        ranks: ranks.map((rank, i) => heads[i].headDim - rank),
        projections: [own.map((p, i) => complement(p, heads[i].headDim))],
        vacuous,
      },
    ]
  })
  const whole: Variant = {
    name: side === 'key' ? 'whole keys' : 'whole queries',
    kind: 'whole',
    features: [],
    ranks: heads.map(({ headDim }) => headDim),
    projections: [heads.map(({ headDim }) => complement(new Float32Array(headDim ** 2), headDim))],
    vacuous: false,
  }
  return [...variants, whole]
}

/** B B^T, [d, d]. */
function projection({ data, shape: [d, rank] }: Basis): Float32Array {
  const out = new Float32Array(d * d)
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) {
      let sum = 0
      for (let r = 0; r < rank; r++) sum += data[i * rank + r] * data[j * rank + r]
      out[i * d + j] = sum
    }
  }
  return out
}

/** I - P */
function complement(p: Float32Array, d: number): Float32Array {
  return p.map((x, at) => (at % (d + 1) === 0 ? 1 : 0) - x)
}
