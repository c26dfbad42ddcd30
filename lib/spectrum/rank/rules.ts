/**
 * The rules by which a decomposition is cut to a rank (design: "Rank"): the parameters of each, checked, and when it
 * lets the solver stop. A rule that needs more than an energy or a rank extends `StoppingRule`.
 */

import { QkError } from '../../errors.js'
import type { RankRule } from '../../store/result.js'
import { checkFraction, checkInteger } from '../../validate.js'

export const DEFAULT_RULE: RankRule = { rule: 'energy', threshold: 0.99 }

/** When `svd` may stop: at a fraction of the energy, or at a rank. */
export type StoppingRule = { energy: number } | { rank: number }

interface RuleDefinition<R extends RankRule> {
  /** Errors: ERR_ARGUMENT. */
  check(rule: R): void
  stop(rule: R): StoppingRule
}

type RuleNamed<N extends RankRule['rule']> = Extract<RankRule, { rule: N }>

const RULES: { [N in RankRule['rule']]: RuleDefinition<RuleNamed<N>> } = {
  /** The smallest r with sum_{i<=r} s_i^2 >= threshold ||ΔC||_F^2: the paper's rule. */
  energy: {
    check: ({ threshold }) => checkFraction(threshold, 'the energy threshold'),
    stop: ({ threshold }) => ({ energy: threshold }),
  },
  fixed: {
    check: ({ rank }) => checkInteger(rank, 'the fixed rank', 1),
    stop: ({ rank }) => ({ rank }),
  },
}

/** Rules of the method that are not part of this version. */
const RULES_TO_COME = ['permutation', 'split-half']

/** The rule as it came. Errors: ERR_ARGUMENT, ERR_NOT_BUILT_YET. */
export function checkRankRule(rule: RankRule): RankRule {
  const { rule: name } = rule
  if (Object.hasOwn(RULES, name)) {
    definitionOf(rule).check(rule)
    return rule
  }
  const toCome = RULES_TO_COME.includes(name)
  throw new QkError(
    toCome ? 'ERR_NOT_BUILT_YET' : 'ERR_ARGUMENT',
    toCome ? `the rank rule "${name}" is not part of this version` : `there is no rank rule "${name}"`,
    { hint: `Rules: ${Object.keys(RULES).join(', ')}.` },
  )
}

/** What a checked rule tells the solver. */
export function stoppingRule(rule: RankRule): StoppingRule {
  return definitionOf(rule).stop(rule)
}

function definitionOf(rule: RankRule): RuleDefinition<RankRule> {
  return RULES[rule.rule] as RuleDefinition<RankRule>
}
