/** Which head the page speaks of: by its evidence where there was a test, never by the size of a gap alone. */

const weight = ({ test }) => (test?.discovered ? (test.replication?.replicated ? 2 : 1) : 0)
const strength = ({ attention, scoreGap }) => attention?.positive ?? scoreGap ?? 0

/** Heads of a contrast as { head, ...found }: replicated discoveries first, then discoveries, by attention or score gap. */
export function byEvidence(result, contrast) {
  return Object.entries(result.heads)
    .map(([head, all]) => ({ head, ...all[contrast] }))
    .sort((a, b) => weight(b) - weight(a) || strength(b) - strength(a))
}

/** The best head of a contrast; undefined where a test discovered none. */
export function bestHead(result, contrast) {
  const [best] = byEvidence(result, contrast)
  return best.test && !best.test.discovered ? undefined : best
}
