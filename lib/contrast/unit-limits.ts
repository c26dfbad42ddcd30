/**
 * How many units a test needs: the rank test, and the check of prompt sets that warns before it
 * (docs/method.md, Rank 7).
 */

/** Below this many units a test has little power. */
export const FEW_UNITS = 20
/** Below this many, p assumes that units contribute symmetrically about zero. */
export const SYMMETRIC_UNITS = 100

/** The smallest p that sign flips can give: of 2^units patterns, the observed one and its negative have the same value. */
export const leastPOfSigns = (units: number): number => 2 / 2 ** units
