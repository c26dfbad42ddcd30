/** Interventions as a table, a row each edit and control: figures 4, 7 and 9. */

import type { InterventionVariant } from '../intervention/edit-report.js'
import type { InterventionReport } from '../intervention/intervene.js'
import type { Cell } from './figure.js'

export const SWAP_COLUMNS = [
  ...['edited', 'kind', 'rank', 'draws', 'vacuous', 'origin before', 'origin after', 'target before'],
  ...[
    'target after',
    'moved',
    'moved low',
    'moved high',
    'delta p',
    'flipped',
    'flipped low',
    'flipped high',
  ],
  ...['answer likeliest before', 'answer likeliest after', 'answer log p before', 'answer log p after'],
  ...['target likeliest after', 'kl', 'kl low', 'kl high'],
]

/** One row a variant; a control that was vacuous is named and has no figures. */
export function swapRows({ variants }: InterventionReport, head: string): Cell[][] {
  return variants.map((variant) => {
    const { name, kind, ranks, draws, vacuous, heads, output } = variant
    const move = heads[head]
    const what: Cell[] = [name, kind, ranks[head], draws, vacuous]
    const attention = move && [
      ...[move.origin.before.mean, move.origin.after.mean, move.target?.before.mean, move.target?.after.mean],
      ...[move.moved?.mean, move.moved?.low, move.moved?.high, move.deltaP?.mean],
      ...[move.flipRate?.mean, move.flipRate?.low, move.flipRate?.high],
    ]
    const change = output && [
      ...[output.accuracy?.before.mean, output.accuracy?.after.mean],
      ...[output.answerLogProb?.before.mean, output.answerLogProb?.after.mean],
      ...[output.targetRate?.after.mean, output.kl.mean, output.kl.low, output.kl.high],
    ]
    const values = [...(attention ?? Array(11).fill(undefined)), ...(change ?? Array(8).fill(undefined))]
    return [...what, ...values.map((x) => (x === undefined || Number.isNaN(x) ? null : x))]
  })
}

/** The edit in these features together, or a control of it. */
export function variantOf(
  { variants }: InterventionReport,
  features: readonly string[],
  kind: 'features' | 'random' | 'complement' = 'features',
): InterventionVariant {
  return variants.find((v) => v.kind === kind && v.features.join() === features.join())!
}
