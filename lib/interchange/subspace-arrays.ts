/**
 * The subspaces of one contrast as arrays for tools that edit queries and keys of a PyTorch model: which arrays there are,
 * how they are named and laid out.
 */

import { type Basis, unionOf } from '../math/basis.js'
import type { FloatArray } from '../math/tensor.js'
import { keyHeadOf } from '../model/sites/site.js'
import type { SavedSite } from '../store/result.js'
import type { StoredTensor } from '../store/safetensors.js'
import type { ContrastSubspace } from '../store/subspace.js'

/** The exported heads of a layer, by index. */
export interface LayerSubspaces {
  site: SavedSite
  heads: Map<number, ContrastSubspace>
}

/** Bases of the heads of one side of a layer, and of its null subspaces, by draw and head. */
export interface SideBases {
  side: 'q' | 'k'
  site: SavedSite
  /** [d, rank] by head of the side; rank 0 if there is none. */
  bases: Basis[]
  nulls: Basis[][]
}

const empty = (d: number): Basis => ({ data: new Float64Array(0), shape: [d, 0] })

/**
 * Query heads have their own U. A key head has the span of V of all the query heads that read it: where keys are grouped,
 * an edit of a key reaches all of them.
 */
export function sideBases({ site, heads }: LayerSubspaces, side: 'q' | 'k'): SideBases {
  const { headDim: d, heads: queryHeads, kvHeads } = site
  const count = side === 'q' ? queryHeads : kvHeads
  const readers = (head: number) =>
    [...heads].filter(([query]) => (side === 'q' ? query : keyHeadOf(site, query)) === head)
  const both = (of: (subspace: ContrastSubspace) => Basis) =>
    Array.from({ length: count }, (_, head) => {
      const own = readers(head).map(([, subspace]) => of(subspace))
      return own.length === 0 ? empty(d) : own.length === 1 ? own[0] : unionOf(own, d)
    })
  const ranked = [...heads.values()].filter(({ rank }) => rank > 0)
  const draws = Math.min(...ranked.map(({ nulls }) => nulls?.count ?? 0))
  return {
    side,
    site,
    bases: both(({ u, v, rank }) => ({ data: side === 'q' ? u : v, shape: [d, rank] })),
    nulls: Array.from({ length: Number.isFinite(draws) ? draws : 0 }, (_, draw) =>
      both((subspace) => nullBasis(subspace, side, draw)),
    ),
  }
}

function nullBasis({ nulls, rank, headDim: d }: ContrastSubspace, side: 'q' | 'k', draw: number): Basis {
  if (!nulls || rank === 0) {
    return empty(d)
  }
  const all = side === 'q' ? nulls.u : nulls.v
  return { data: all.slice(draw * d * rank, (draw + 1) * d * rank), shape: [d, rank] }
}

const widest = (bases: readonly Basis[]) => Math.max(0, ...bases.map(({ shape }) => shape[1]))

/** [head, d, width]: columns beyond a head's rank are zeros, which change no projection. */
function stacked(bases: readonly Basis[], d: number, width: number, out: FloatArray): void {
  bases.forEach(({ data, shape: [, rank] }, head) => {
    for (let i = 0; i < d; i++) {
      for (let c = 0; c < rank; c++) {
        out[(head * d + i) * width + c] = data[i * rank + c]
      }
    }
  })
}

/** Null subspaces, which have an axis of draws, are random, so a precision of 24 bits is enough. */
const make = (axes: readonly number[], length: number): FloatArray =>
  axes.length > 0 ? new Float32Array(length) : new Float64Array(length)

type Named = [string, StoredTensor]

const prefixOf = ({ kind }: SavedSite) => (kind ? `${kind}.` : '')

/**
 * `blocks.3.attn.hook_rot_q`: [head, d, width], and `blocks.3.attn.hook_rot_q.null`: [draw, head, d, width]. TransformerLens
 * passes [batch, pos, head, d] through that hook.
 */
export function hookArrays({ site, side, bases, nulls }: SideBases): Named[] {
  const { headDim: d, hooks } = site
  const layout = (name: string, sets: readonly (readonly Basis[])[], axes: number[]): Named => {
    const width = widest(sets.flat())
    const data = make(axes, sets.length * bases.length * d * width)
    sets.forEach((set, i) => {
      const length = bases.length * d * width
      stacked(set, d, width, data.subarray(i * length, (i + 1) * length))
    })
    return [name, { data, shape: [...axes, bases.length, d, width] }]
  }
  return [
    layout(hooks[side], [bases], []),
    ...(nulls.length > 0 ? [layout(`${hooks[side]}.null`, nulls, [nulls.length])] : []),
  ]
}

/**
 * `layers.3.q_proj.output`: [heads * d, columns], and `.null`: [draw, heads * d, columns]. A module of Hugging Face's
 * transformers gives [batch, pos, heads * d] there, the heads side by side; a column has values on one head's rows only.
 */
export function moduleArrays({ site, side, bases, nulls }: SideBases): Named[] {
  const { headDim: d } = site
  const name = `${prefixOf(site)}layers.${site.layer}.${side}_proj.output`
  const columns = (set: readonly Basis[]) => set.reduce((sum, { shape }) => sum + shape[1], 0)
  const layout = (own: string, sets: readonly (readonly Basis[])[], axes: number[]): Named => {
    const width = Math.max(...sets.map(columns))
    const rows = bases.length * d
    const data = make(axes, sets.length * rows * width)
    sets.forEach((set, i) => {
      let before = 0
      set.forEach(({ data: basis, shape: [, rank] }, head) => {
        for (let r = 0; r < d; r++) {
          const at = (i * rows + head * d + r) * width + before
          data.set(basis.subarray(r * rank, (r + 1) * rank), at)
        }
        before += rank
      })
    })
    return [own, { data, shape: [...axes, rows, width] }]
  }
  return [
    layout(name, [bases], []),
    ...(nulls.length > 0 ? [layout(`${name}.null`, nulls, [nulls.length])] : []),
  ]
}

/**
 * `layers.3.head_query_output.0`: [d, rank] of each head with a subspace, and `.null`: [draw, d, rank]. The weight of
 * pyvene's `LowRankRotateLayer` on that component has this shape.
 */
export function headArrays({ site, side, bases, nulls }: SideBases): Named[] {
  const { headDim: d } = site
  const component = side === 'q' ? 'head_query_output' : 'head_key_output'
  return bases.flatMap(({ data, shape: [, rank] }, head): Named[] => {
    if (rank === 0) {
      return []
    }
    const name = `${prefixOf(site)}layers.${site.layer}.${component}.${head}`
    const own: Named[] = [[name, { data, shape: [d, rank] }]]
    if (nulls.length === 0) {
      return own
    }
    const sets = nulls.map((set) => set[head])
    const width = widest(sets)
    const all = new Float32Array(sets.length * d * width)
    sets.forEach((set, i) => {
      stacked([set], d, width, all.subarray(i * d * width, (i + 1) * d * width))
    })
    return [...own, [`${name}.null`, { data: all, shape: [sets.length, d, width] }]]
  })
}
