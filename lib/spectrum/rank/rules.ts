/**
 * The rank rules of a decomposition (docs/method.md, Rank): checks their parameters, and tells when the solver may
 * stop.
 */

import { QkError } from '../../errors.js'
import type { RankRule } from '../../store/result.js'
import { checkFraction, checkInteger, refuseUnknownKeys, shownValue } from '../../validate.js'

export const DEFAULT_ALPHA = 0.05
/** Default number of draws of every head, and default limit for one head. */
export const DEFAULT_DRAWS = 199
export const MOST_DRAWS = 99_999

export const DEFAULT_RULE: RankRule = { rule: 'permutation', alpha: DEFAULT_ALPHA }

/**
 * When `svd` may stop: at a fraction of the energy, or at a rank. Never under `permutation`, whose test determines the
 * rank.
 */
export type StoppingRule = { energy: number } | { rank: number } | Record<string, never>

interface RuleDefinition<R extends RankRule> {
  keys: Record<Exclude<keyof R, 'rule'>, true>
  /** Errors: ERR_ARGUMENT. */
  check(rule: R): void
  stop(rule: R): StoppingRule
}

type RuleNamed<N extends RankRule['rule']> = Extract<RankRule, { rule: N }>

const RULES: { [N in RankRule['rule']]: RuleDefinition<RuleNamed<N>> } = {
  /** Keeps components that are larger than those of random exchanges of units: the calibrated test. */
  permutation: {
    keys: { alpha: true, draws: true, mostDraws: true },
    check: ({ alpha = DEFAULT_ALPHA, draws = DEFAULT_DRAWS, mostDraws = MOST_DRAWS }) => {
      checkLevel(alpha)
      checkInteger(draws, 'draws', 1, MOST_DRAWS)
      checkInteger(mostDraws, 'mostDraws', draws, 10_000_000)
    },
    stop: () => ({}),
  },
  /** The smallest r with sum_{i<=r} s_i^2 >= threshold ||ΔC||_F^2: the paper's rule. A description, not a test. */
  energy: {
    keys: { threshold: true },
    check: ({ threshold }) => checkFraction(threshold, 'the energy threshold'),
    stop: ({ threshold }) => ({ energy: threshold }),
  },
  fixed: {
    keys: { rank: true },
    check: ({ rank }) => checkInteger(rank, 'the fixed rank', 1),
    stop: ({ rank }) => ({ rank }),
  },
}

/** Checks a significance level, above 0 and below 1. Errors: ERR_ARGUMENT. */
export function checkLevel(alpha: number): void {
  if (typeof alpha === 'number' && alpha > 0 && alpha < 1) {
    return
  }
  throw new QkError('ERR_ARGUMENT', `alpha is ${shownValue(alpha)}, expected a level above 0 and below 1`)
}

/** Checks a rule and returns it. Errors: ERR_ARGUMENT. */
export function checkRankRule(rule: RankRule): RankRule {
  const { rule: name } = rule
  if (Object.hasOwn(RULES, name)) {
    const definition = definitionOf(rule)
    refuseUnknownKeys(rule, { rule: true, ...definition.keys }, `the rank rule "${name}"`)
    definition.check(rule)
    return rule
  }
  throw new QkError('ERR_ARGUMENT', `there is no rank rule "${name}"`, {
    hint: `Rules: ${Object.keys(RULES).join(', ')}.`,
  })
}

/** The solver's stopping rule under a checked rank rule. */
export function stoppingRule(rule: RankRule): StoppingRule {
  return definitionOf(rule).stop(rule)
}

function definitionOf(rule: RankRule): RuleDefinition<RankRule> {
  return RULES[rule.rule] as RuleDefinition<RankRule>
}
