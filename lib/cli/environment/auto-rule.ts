/** What `backend: 'auto'` takes on this machine, in a sentence: the sizes from which on a GPU pays. */

import { edge, type Work } from '../../backend/cost/cost.js'
import { autoHardware } from '../../backend/select.js'
import { counted } from '../../validate.js'

const SIZES = { heads: 32, kvHeads: 8, headDim: 128 } as const

/** One kind of work a line: what a size counts, and the work of that size. */
const KINDS: readonly { what: string; work: (size: number) => Work[] }[] = [
  {
    what: 'terms of 32 query and 8 key heads of d = 128',
    work: (terms) => [{ kind: 'terms', ...SIZES, terms }],
  },
  {
    what: 'full SVDs of 128 x 128',
    work: (n) => [{ kind: 'svd', n, rows: 128, cols: 128, full: true }],
  },
  {
    what: 'draws of signs for these heads over 3,000 rows',
    work: (draws) => [{ kind: 'flips', ...SIZES, rows: 3000, draws }],
  },
]

export interface AutoRule {
  /** Cores that the model of cost reckons with. */
  cores: number
  /** The size of each kind of work from which on a GPU pays; null where it never does. */
  edges: { what: string; from: number | null }[]
}

export function autoRule(): AutoRule {
  const hardware = autoHardware()
  return {
    cores: hardware.cores,
    edges: KINDS.map(({ what, work }) => ({ what, from: edge(work, hardware) ?? null })),
  }
}

/** `available`: whether a GPU can be used here. */
export function autoRuleText({ cores, edges }: AutoRule, available: boolean): string {
  const number = new Intl.NumberFormat('en')
  const or = new Intl.ListFormat('en', { type: 'disjunction' })
  const sizes = edges.flatMap(({ what, from }) => (from === null ? [] : [`${number.format(from)} ${what}`]))
  if (sizes.length === 0) {
    return `auto: cpu; with ${counted(cores, 'core')} a GPU never pays`
  }
  const above = `above about ${or.format(sizes)}`
  const why = `by the measured rates of an H100 and of ${counted(cores, 'core')} like those of docs/benchmarks.md`
  return available
    ? `auto: cuda ${above}, cpu below (${why})`
    : `auto: cpu, as no GPU can be used; one would be taken ${above} (${why})`
}
