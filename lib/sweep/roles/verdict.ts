/** Which heads have a role: found by the test, and attending to what the role names far more than to keys nearby. */

import type { MeanAttention } from '../../store/result.js'

/** When a head has a role: both limits are met by its attention. */
export interface RoleRule {
  /** Attention on a positive key over that on a negative one, at least. */
  factor: number
  /** Attention on all positive keys of a query, at least. */
  attention: number
}

export const ROLE_RULE: RoleRule = { factor: 4, attention: 0.25 }

/**
 * A discovered contrast is no role yet: after rotation by position nearly every head has some ΔC of position. Negative keys
 * stand at nearly the same distances as positive ones, so that the factor between the two is what the contrast adds.
 */
export function hasRole(
  { discovered, attention }: { discovered: boolean; attention: MeanAttention | null },
  { factor, attention: least }: RoleRule,
): boolean {
  if (!discovered || !attention) {
    return false
  }
  return attention.positive >= least && attention.perPositive >= factor * attention.perNegative
}
