/** Names of heads: `L16H1`, `16.1`, `[16, 1]`, `cross.L2H1`. */

import { QkError } from '../../errors.js'
import { groupBy } from '../../math/group-by.js'
import type { AttentionSite } from './site.js'

/** A head by name, as in `L0H1`, or by layer and head, both from 0. */
export type HeadSpec = string | readonly [layer: number, head: number]

export interface HeadRef {
  /** Index among the sites. */
  site: number
  head: number
}

/** All heads, or those named in a list or in one string with commas. Errors: ERR_UNKNOWN_HEAD. */
export function parseHeads(
  spec: 'all' | string | readonly HeadSpec[],
  sites: readonly AttentionSite[],
): HeadRef[] {
  if (spec === 'all') {
    return sites.flatMap((site, s) => Array.from({ length: site.heads }, (_, head) => ({ site: s, head })))
  }
  if (typeof spec !== 'string' && !Array.isArray(spec)) {
    throw new QkError(
      'ERR_UNKNOWN_HEAD',
      `heads are 'all', a string of names, or a list, not ${String(spec)}`,
    )
  }
  const list = typeof spec === 'string' ? spec.split(',').map((name) => name.trim()) : spec
  const found = new Map<string, HeadRef>()
  for (const name of list) {
    const ref = parseHead(name, sites)
    found.set(`${ref.site}.${ref.head}`, ref)
  }
  if (found.size === 0) {
    throw new QkError('ERR_UNKNOWN_HEAD', 'no head is named')
  }
  return [...found.values()].sort((a, b) => a.site - b.site || a.head - b.head)
}

function parseHead(spec: HeadSpec, sites: readonly AttentionSite[]): HeadRef {
  const [kind, layer, head] = split(spec)
  const site = sites.findIndex((s) => s.layer === layer && (s.kind ?? undefined) === kind)
  if (site < 0 || head >= sites[site].heads) {
    throw new QkError(
      'ERR_UNKNOWN_HEAD',
      `there is no head ${typeof spec === 'string' ? spec : `[${spec}]`}`,
      {
        hint: `The model has ${describeHeads(sites)}.`,
      },
    )
  }
  return { site, head }
}

function split(spec: HeadSpec): [kind: string | undefined, layer: number, head: number] {
  if (typeof spec === 'string') {
    const match = /^(?:(enc|dec|cross)\.)?(?:L(\d+)H(\d+)|(\d+)\.(\d+))$/i.exec(spec)
    if (match) {
      return [match[1]?.toLowerCase(), Number(match[2] ?? match[4]), Number(match[3] ?? match[5])]
    }
  } else if (
    Array.isArray(spec) &&
    spec.length === 2 &&
    spec.every((n) => Number.isSafeInteger(n) && n >= 0)
  ) {
    return [undefined, spec[0], spec[1]]
  }
  throw new QkError('ERR_UNKNOWN_HEAD', `${JSON.stringify(spec)} does not name a head`, {
    hint: 'Write L16H1, 16.1 or [16, 1]; in models with several kinds of attention, cross.L2H1.',
  })
}

function describeHeads(sites: readonly AttentionSite[]): string {
  const kinds = groupBy(sites, (s) => s.kind ?? '')
  return [...kinds]
    .map(
      ([kind, list]) => `${list.length} ${kind ? `${kind}. ` : ''}layers of ${list[0].heads} heads, from 0`,
    )
    .join(' and ')
}
