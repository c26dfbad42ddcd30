/** Interventions as tables: a row each edit and control, and a row each effect beside its controls (figures 4, 7 and 9). */

import type { InterventionVariant } from '../intervention/edit-report.js'
import type { VariantKind } from '../intervention/edit-variants.js'
import type { InterventionReport } from '../intervention/intervene.js'
import type { Estimate } from '../math/bootstrap.js'
import { CONTROL_COLUMNS, type Controls, controlCells } from './controls.js'
import type { Cell } from './figure.js'

export const SWAP_COLUMNS = [
  'edited',
  'kind',
  'rank',
  'draws',
  'vacuous',
  'origin before',
  'origin after',
  'target before',
  'target after',
  'moved',
  'moved low',
  'moved high',
  'delta p',
  'flipped',
  'flipped low',
  'flipped high',
  'answer likeliest before',
  'answer likeliest after',
  'answer log p before',
  'answer log p after',
  'target likeliest after',
  'kl',
  'kl low',
  'kl high',
]

/** One row a variant; a control that was vacuous is named and has no figures. */
export function swapRows({ variants }: InterventionReport, head: string): Cell[][] {
  return variants.map((variant) => {
    const { name, kind, ranks, draws, vacuous, heads, output } = variant
    const move = heads[head]
    const what: Cell[] = [name, kind, ranks[head], draws, vacuous]
    const attention = move && [
      move.origin.before.mean,
      move.origin.after.mean,
      move.target?.before.mean,
      move.target?.after.mean,
      move.moved?.mean,
      move.moved?.low,
      move.moved?.high,
      move.deltaP?.mean,
      move.flipRate?.mean,
      move.flipRate?.low,
      move.flipRate?.high,
    ]
    const change = output && [
      output.accuracy?.before.mean,
      output.accuracy?.after.mean,
      output.answerLogProb?.before.mean,
      output.answerLogProb?.after.mean,
      output.targetRate?.after.mean,
      output.kl.mean,
      output.kl.low,
      output.kl.high,
    ]
    const values = [...(attention ?? Array(11).fill(undefined)), ...(change ?? Array(8).fill(undefined))]
    return [...what, ...values.map((x) => (x === undefined || Number.isNaN(x) ? null : x))]
  })
}

/** The edit in these features together, or a control of it; undefined where that control was not measured. */
export function variantOf(
  { variants }: InterventionReport,
  features: readonly string[],
  kind: VariantKind = 'features',
): InterventionVariant | undefined {
  return variants.find((v) => v.kind === kind && !v.vacuous && v.features.join('\n') === features.join('\n'))
}

interface Effect {
  value: Pick<Estimate, 'mean'> & Partial<Estimate>
  /** Of null subspaces, over draws. */
  p95?: number | null
}

/** What an edit does, by name; log-probabilities and rates of the output as changes. */
const EFFECTS = {
  moved: ({ heads }, head) => of(heads[head]?.moved, heads[head]?.p95?.moved),
  flipped: ({ heads }, head) => of(heads[head]?.flipRate, heads[head]?.p95?.flipRate),
  'delta p': ({ heads }, head) => of(heads[head]?.deltaP, heads[head]?.p95?.deltaP),
  'answer lost': ({ output }) =>
    change(output?.accuracy?.before, output?.accuracy?.after, output?.p95?.accuracy),
  'target answered': ({ output }) =>
    change(output?.targetRate?.after, output?.targetRate?.before, output?.p95?.targetRate),
  kl: ({ output }) => of(output?.kl, output?.p95?.kl),
} satisfies Record<string, (variant: InterventionVariant, head: string) => Effect | undefined>

export type EffectName = keyof typeof EFFECTS

function of(value: Estimate | null | undefined, p95: number | null | undefined): Effect | undefined {
  return value && !Number.isNaN(value.mean) ? { value, p95 } : undefined
}

/** `larger` less `smaller`, where both are known. */
function change(
  larger: Estimate | undefined,
  smaller: Estimate | undefined,
  p95: number | null | undefined,
): Effect | undefined {
  return larger && smaller && { value: { mean: larger.mean - smaller.mean }, p95 }
}

/** One effect of the swap in some features, beside its controls; undefined where there was nothing to move. */
export function effectOf(
  report: InterventionReport,
  features: readonly string[],
  name: EffectName,
): { value: Effect['value']; controls: Controls } | undefined {
  const [head] = report.heads
  const measured = (kind: VariantKind) => {
    const variant = variantOf(report, features, kind)
    return variant && { ...EFFECTS[name](variant, head), draws: variant.draws }
  }
  const value = measured('features')?.value
  if (!value) {
    return undefined
  }
  const nulls = measured('null')
  const mean = (kind: VariantKind) => measured(kind)?.value?.mean ?? null
  return {
    value,
    controls: {
      nulls:
        nulls?.value && typeof nulls.p95 === 'number'
          ? { count: nulls.draws, mean: nulls.value.mean, p95: nulls.p95 }
          : null,
      keys: mean('keys'),
      meanQuery: mean('mean query'),
      random: mean('random'),
    },
  }
}

export const EFFECT_COLUMNS = ['edited', 'rank', 'effect', 'value', 'low', 'high', ...CONTROL_COLUMNS]

/** A row each edit in features and effect, beside all controls. */
export function effectRows(report: InterventionReport): Cell[][] {
  const [head] = report.heads
  return report.variants
    .filter(({ kind }) => kind === 'features')
    .flatMap(({ name, features, ranks }) =>
      (Object.keys(EFFECTS) as EffectName[]).flatMap((effect) => {
        const found = effectOf(report, features, effect)
        if (!found) {
          return []
        }
        const { mean, low, high } = found.value
        return [
          [name, ranks[head], effect, mean, low ?? null, high ?? null, ...controlCells(mean, found.controls)],
        ]
      }),
    )
}
