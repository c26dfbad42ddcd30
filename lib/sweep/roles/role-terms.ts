/**
 * Contrasts made of a prompt's own tokens: what a head is said to do when its queries prefer certain keys to others
 * at nearly the same distance. Induction heads are those of Olsson et al., "In-context Learning and Induction Heads"
 * (2022); local, delimiter and block heads those of the literature on BERT (Clark et al. 2019, Kovaleva et al. 2019,
 * Pande et al. 2021).
 */

import type { Term } from '../../contrast/prompt.js'
import type { Random } from '../../math/random.js'

/**
 * Which keys are positive for the query at position i:
 *
 *   previous token  i - 1
 *   next token      i + 1; of heads that see it
 *   same token      other copies of the token at i
 *   induction       what follows an earlier copy of the token at i
 *   first token     0, where attention goes that is not wanted elsewhere (a sink)
 *   delimiter       full stops, commas, separators
 *   block           the first keys between the last delimiter and i, against the last ones before it
 */
export const ROLES = [
  'previous token',
  'next token',
  'same token',
  'induction',
  'first token',
  'delimiter',
  'block',
] as const

/** A role of heads, by the name of its contrast; `ROLES` defines its positive keys. */
export type Role = (typeof ROLES)[number]

/** A prompt's tokens, with the properties that roles need. */
export interface RoleTokens {
  ids: readonly number[]
  /** Whether heads see only keys before the query. */
  causal: boolean
  /** Whether a token separates blocks. Undefined without a tokenizer. */
  isDelimiter?: (id: number) => boolean
}

/**
 * Keys within this distance of a positive key are its negatives, so that both have nearly the same distance from the
 * query.
 */
const NEAR = 4
/** Number of keys on either side of a boundary that `block` compares, and their least distance from the query. */
const BLOCK = { keys: 2, away: 4 } as const
/** Fewest negative keys of a query. */
const LEAST_NEGATIVES = 2

/** Up to `each` terms of every role that occurs in the tokens, for queries chosen by `random`. */
export function roleTerms(tokens: RoleTokens, random: Random, each: number): Map<Role, Term[]> {
  const found = new Map<Role, Term[]>()
  const queries = random.sample([...tokens.ids.keys()], tokens.ids.length)
  for (const role of ROLES) {
    const terms: Term[] = []
    for (const query of queries) {
      if (terms.length === each) {
        break
      }
      const term = termOf(role, query, tokens)
      if (term) {
        terms.push(term)
      }
    }
    if (terms.length > 0) {
      found.set(role, terms)
    }
  }
  return found
}

function termOf(role: Role, query: number, tokens: RoleTokens): Term | undefined {
  if (role === 'block') {
    return blockTerm(query, tokens)
  }
  const { ids, causal } = tokens
  const seen = (j: number) => j >= 0 && j < ids.length && j !== query && (!causal || j < query)
  const positive = positivesOf(role, query, tokens).filter(seen)
  if (positive.length === 0) {
    return undefined
  }
  const taken = new Set([...positive, ...sinksBut(role)])
  const negative = [...ids.keys()].filter((j) => {
    return seen(j) && !taken.has(j) && positive.some((p) => Math.abs(p - j) <= NEAR)
  })
  return negative.length < LEAST_NEGATIVES ? undefined : { query, positive, negative }
}

/** The first token is an attention sink, so it is a key only of its own role. */
const sinksBut = (role: Role): number[] => (role === 'first token' ? [] : [0])

function positivesOf(role: Role, query: number, { ids, isDelimiter }: RoleTokens): number[] {
  const positions = [...ids.keys()]
  switch (role) {
    case 'previous token':
      return query > 1 ? [query - 1] : []
    case 'next token':
      return [query + 1]
    case 'same token':
      return positions.filter((j) => j > 0 && ids[j] === ids[query])
    case 'induction':
      // A copy of the query's own token does not count as a successor, even if a token is doubled.
      return positions.filter(
        (j) => j > 1 && j - 1 < query && ids[j - 1] === ids[query] && ids[j] !== ids[query],
      )
    case 'first token':
      return query > 1 ? [0] : []
    case 'delimiter':
      return isDelimiter && !isDelimiter(ids[query])
        ? positions.filter((j) => j > 0 && isDelimiter(ids[j]))
        : []
    case 'block':
      return []
  }
}

/** The keys on both sides of the last delimiter before the query, all far from the query. */
function blockTerm(query: number, { ids, isDelimiter }: RoleTokens): Term | undefined {
  if (!isDelimiter) {
    return undefined
  }
  const boundary = ids.slice(0, query).findLastIndex((id) => isDelimiter(id))
  const { keys, away } = BLOCK
  if (boundary - keys < 1 || query - boundary < keys + away) {
    return undefined
  }
  const negative = Array.from({ length: keys }, (_, i) => boundary - keys + i)
  if (negative.some((j) => isDelimiter(ids[j]))) {
    return undefined
  }
  return { query, positive: Array.from({ length: keys }, (_, i) => boundary + 1 + i), negative }
}
