/**
 * Numbers of units that a test needs, for the rank test and for the check of prompt sets that warns in advance
 * (docs/method.md, Rank 7).
 */

/** Below this many units a test has little power. */
export const FEW_UNITS = 20
/** With fewer units, p assumes that units contribute symmetrically about zero. */
export const SYMMETRIC_UNITS = 100

/**
 * The smallest p that sign flips can reach: of 2^units patterns, the observed one and its negative give the same
 * value.
 */
export const leastPOfSigns = (units: number): number => 2 / 2 ** units
