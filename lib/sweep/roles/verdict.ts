/**
 * Decides which heads have a role: those that the test discovered, and that attend to the role's keys much more than
 * to nearby keys.
 */

import type { MeanAttention } from '../../store/result.js'

/** Limits that the attention of a head with a role must reach. */
export interface RoleRule {
  /** Least ratio of the attention on a positive key to that on a negative key. */
  factor: number
  /** Least attention on all positive keys of a query. */
  attention: number
}

export const ROLE_RULE: RoleRule = { factor: 4, attention: 0.25 }

/**
 * Whether a head has a role. Discovery alone is not enough: with rotation by position, nearly every head has some ΔC
 * of position. Negative keys have nearly the same distances as positive ones, so the ratio of attention shows the
 * effect of the contrast.
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
