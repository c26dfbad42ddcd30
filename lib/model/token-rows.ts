/**
 * Locates the tokens among captured rows that also contain other rows, such as the learned rows of a soft prompt. The
 * search compares runs of different prompts, since learned rows do not change.
 */

import type { UnsupportedSite } from './candidate.js'
import { fullCaptureGraph } from './graphs/capture-graph.js'
import { tokenFeeds } from './inference/inputs.js'
import { InferenceSession, type WireTensor } from './inference/session.js'
import { tensorValues } from './inference/values.js'
import type { OtherRows, ResolvedSite } from './sites/site.js'
import type { ProbeContext } from './sites/site-probe.js'

/** Prompts of one length. The first two differ in all tokens, the first and third only in the last token. */
const PROMPTS = [
  [2, 3, 4, 5, 6, 7],
  [8, 9, 10, 11, 12, 13],
  [2, 3, 4, 5, 6, 14],
]

/** Sites whose tokens were found. The others are reported with the reason. Errors: ERR_INFERENCE. */
export async function locateTokens(
  context: ProbeContext,
  sites: readonly ResolvedSite[],
): Promise<{ sites: ResolvedSite[]; unsupported: UnsupportedSite[] }> {
  const open = sites.filter(({ query, key }) => query.others.before > 0 || key.others.before > 0)
  if (open.length === 0) {
    return { sites: [...sites], unsupported: [] }
  }
  const runs = await runPrompts(context, open)
  const unsupported: UnsupportedSite[] = []
  /**
   * Findings in earlier layers, by the number of other rows. Later rows cannot be compared, since attention has mixed
   * them.
   */
  const known = new Map<number, OtherRows>()
  open.forEach((site, i) => {
    for (const which of ['query', 'key'] as const) {
      const count = site[which].others.before
      if (count === 0) {
        continue
      }
      const found =
        placeOf(
          runs.map((run) => run[i][which]),
          count,
        ) ?? known.get(count)
      if (!found) {
        const side = which === 'query' ? 'queries' : 'keys'
        unsupported.push({
          node: site.node,
          op: site.op,
          layer: site.layer,
          ...(site.kind && { kind: site.kind }),
          reason: `${count} of its ${side} are no tokens, and where they are could not be told`,
        })
        return
      }
      known.set(count, found)
      site[which].others = found
    }
    site.otherRows = { query: site.query.others, key: site.key.others }
  })
  const lost = new Set(unsupported.map(({ node }) => node))
  return { sites: sites.filter(({ node }) => !lost.has(node)), unsupported }
}

/** Captured rows of each prompt and site, [pos, heads, d]. */
async function runPrompts({ graph, inputs, threads }: ProbeContext, sites: readonly ResolvedSite[]) {
  const capture = fullCaptureGraph(
    graph,
    sites.map((site) => ({ site })),
  )
  const { weightsFolder } = graph.model
  const session = await InferenceSession.open({ bytes: capture.bytes, weightsFolder, threads, once: true })
  const used = inputs.filter(({ name }) => capture.inputs.includes(name))
  try {
    const runs = []
    for (const tokens of PROMPTS) {
      const found = await session.run(tokenFeeds(used, [tokens], 0))
      runs.push(capture.outputs.map(({ q, k }) => ({ query: rowsOf(found[q]), key: rowsOf(found[k]) })))
    }
    return runs
  } finally {
    await session.close()
  }
}

interface Rows {
  values: Float64Array
  count: number
  width: number
}

function rowsOf(tensor: WireTensor): Rows {
  const [, count, heads, d] = tensor.dims
  return { values: tensorValues(tensor), count, width: heads * d }
}

/** Position of `count` rows that are not tokens. Undefined if all rows change with any token. */
function placeOf([first, other, lastChanged]: readonly Rows[], count: number): OtherRows | undefined {
  const same = (a: Rows, b: Rows) =>
    Array.from({ length: a.count }, (_, row) => {
      const of = ({ values, width }: Rows) => values.subarray(row * width, (row + 1) * width)
      return of(a).every((x, i) => x === of(b)[i])
    })
  const tokens = first.count - count
  const learned = same(first, other)
  if (learned.filter(Boolean).length === count) {
    const before = learned.indexOf(false)
    // Other rows between tokens lie neither before nor after them.
    const together = learned.slice(before, before + tokens).every((row) => !row)
    if (together) {
      return { before, after: count - before }
    }
  }
  // In a causal model, the last token changes only its own row and later rows.
  const changed = same(first, lastChanged).indexOf(false)
  if (changed < tokens - 1) {
    return undefined
  }
  return { before: changed - (tokens - 1), after: count - (changed - (tokens - 1)) }
}
