/** The controls of decomposed heads, from the rows that accumulation kept. */

import type { HeadGroup } from '../../covariance/site-plan.js'
import type { Sums } from '../../covariance/sums.js'
import type { NullSubspaces, PlainDirections } from '../../store/controls.js'
import { isMixed, type SumsNullData } from '../rank/null-data.js'
import { type NullsOptions, nullSubspaces, plainDirections } from './controls.js'

export interface Controls {
  nulls?: NullSubspaces
  directions?: PlainDirections
}

/**
 * Controls by contrast, then by head of the group. Empty if no rows were kept, if the rank is 0, and for contrasts
 * that mix terms and labels. `ranks` [contrasts][heads]. Errors: ERR_FILE, ERR_ABORTED, those of backends.
 */
export async function groupControls(
  sums: Sums,
  nullData: SumsNullData,
  group: HeadGroup,
  ranks: readonly (readonly number[])[],
  center: boolean,
  options: NullsOptions,
): Promise<Controls[][]> {
  const found: Controls[][] = ranks.map((own) => own.map(() => ({})))
  if (!group.kept || options.count === 0) {
    return found
  }
  for (const [c, own] of ranks.entries()) {
    const heads = own.map((rank, head) => ({ head, rank })).filter(({ rank }) => rank > 0)
    if (heads.length === 0 || isMixed(sums, c)) {
      continue
    }
    const { data } = nullData.of(group, group.kept, c)
    const plain = await data.source('effect')
    try {
      const directions = await plainDirections(plain, heads, options)
      const source = center ? await data.source('interaction') : plain
      try {
        const nulls = await nullSubspaces(source, heads, options)
        heads.forEach(({ head }, i) => {
          found[c][head] = { nulls: nulls[i], directions: directions[i] }
        })
      } finally {
        if (center) {
          source.release()
        }
      }
    } finally {
      plain.release()
    }
  }
  return found
}
