/**
 * Rotary position embedding in standard operators (Su et al., arXiv 2104.09864): of the first r dimensions of a
 * head, pairs (x1, x2) become (x1 cos - x2 sin, x2 cos + x1 sin). The pairs are (i, i + r/2), or (2i, 2i + 1)
 * when interleaved; the rest of the head passes through.
 */

import { type SubgraphWriter, TO_THE_END } from './fused-operator.js'

export interface Rotation {
  /** [maximum position, r/2] */
  cos: string
  sin: string
  /** int64 [batch, pos] */
  positions: string
  interleaved: boolean
}

/** Rotates [batch, heads, pos, d]; the result is of the element type of the caches. */
export function writeRotation(write: SubgraphWriter, x: string, rotation: Rotation): string {
  const perHead = (cache: string) => {
    const rows = write.op('Gather', [cache, rotation.positions])
    return write.reshape(rows, [0, 1, write.size(rows, 1), write.size(rows, 2)])
  }
  const [cos, sin] = [perHead(rotation.cos), perHead(rotation.sin)]
  const half = write.size(rotation.cos, 1)
  const rotated = write.op('Mul', [half, write.ints([2])])
  const turning = write.slice(x, 3, 0, rotated)
  const rest = write.slice(x, 3, rotated, TO_THE_END)
  const { first, second } = rotation.interleaved
    ? interleavedPairs(write, turning, half)
    : {
        first: write.slice(turning, 3, 0, half),
        second: write.slice(turning, 3, half, TO_THE_END),
      }
  const minus = write.op('Sub', [write.op('Mul', [first, cos]), write.op('Mul', [second, sin])])
  const plus = write.op('Add', [write.op('Mul', [second, cos]), write.op('Mul', [first, sin])])
  const turned = rotation.interleaved
    ? interleave(write, minus, plus, turning)
    : write.concat([minus, plus], 3)
  return write.concat([turned, rest], 3)
}

/** [.., r] -> two of [.., r/2], the even and the odd dimensions. */
function interleavedPairs(write: SubgraphWriter, x: string, half: string): { first: string; second: string } {
  const pairs = write.reshape(x, [0, 0, write.size(x, 2), half, 2])
  const member = (i: number) => write.op('Gather', [pairs, write.ints([i], [])], { axis: 4 })
  return { first: member(0), second: member(1) }
}

function interleave(write: SubgraphWriter, even: string, odd: string, like: string): string {
  const single = (x: string) => write.reshape(x, [0, 0, write.size(x, 2), write.size(x, 3), 1])
  const pairs = write.concat([single(even), single(odd)], 4)
  return write.op('Reshape', [pairs, write.op('Shape', [like])])
}

/** int64 [batch, pos]: 0, 1, ... from a start for each sequence, int64 [batch, 1] or []. */
export function consecutivePositions(write: SubgraphWriter, x: string, start: string): string {
  const steps = write.reshape(write.range(write.scalarSize(x, 2)), [1, -1])
  const shape = write.concat([write.size(x, 0), write.ints([1])], 0)
  return write.op('Add', [write.op('Expand', [start, shape]), steps])
}
