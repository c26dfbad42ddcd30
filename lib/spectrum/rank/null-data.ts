/** Prepares the rows that accumulation kept for exchange, by group of heads and contrast. */

import type { KeptLabels, KeptRows, KeptTerms } from '../../covariance/kept/kept-rows.js'
import type { HeadGroup } from '../../covariance/site-plan.js'
import type { Sums } from '../../covariance/sums.js'
import { QkError } from '../../errors.js'
import { unitKey } from '../../math/unit-hash.js'
import { FlipData } from './exchange/flip-source.js'
import { labelUnits } from './exchange/label-sequences.js'
import { LabelData } from './exchange/label-source.js'
import type { NullData } from './exchange/null-source.js'
import { OneSidedSigns } from './exchange/signed-sums.js'

export class SumsNullData {
  readonly #rows = new LastRead()
  readonly #oneSided: OneSidedSigns

  constructor(
    private readonly sums: Sums,
    private readonly seed: number,
  ) {
    this.#oneSided = new OneSidedSigns(seed)
  }

  /** Errors: ERR_ARGUMENT where a contrast has both kinds of rules. */
  of(
    { covariance: { backend, spec } }: HeadGroup,
    kept: KeptRows,
    contrast: number,
  ): { data: NullData; labels: boolean } {
    const { sums, seed } = this
    const { heads, kvHeads, headDim, estimator } = spec
    const { units: ids, sequences, sequenceIds } = kept.contrast(contrast)
    if (isMixed(sums, contrast)) {
      throw mixed(sums.contrasts[contrast])
    }
    const sizes = { heads, kvHeads, headDim }
    if (sequences.length > 0) {
      const load = () => this.#rows.read(kept, contrast) as Promise<KeptLabels>
      const units = labelUnits(sequences, sequenceIds)
      return { data: new LabelData(sums.backend.choice, sizes, load, units, seed), labels: true }
    }
    const counterfactual = sums.prompts.definitions[sums.contrasts[contrast]].rule === 'counterfactual'
    const unitKeys = ids.map(unitKey)
    const load = async () => {
      const terms = (await this.#rows.read(kept, contrast)) as KeptTerms
      // Units of other contrasts have no rows here, and are skipped.
      return { ...terms, unitKeys: terms.unitIds.map(unitKey), estimator, counterfactual }
    }
    const info = { ...sizes, units: unitKeys, symmetric: counterfactual }
    return { data: new FlipData(backend, info, load, seed, this.#oneSided), labels: false }
  }
}

/**
 * Whether a contrast mixes terms and label sequences. They are exchanged in different ways, so their sum cannot be
 * tested.
 */
export function isMixed(sums: Sums, contrast: number): boolean {
  const { terms, labelled } = sums.prompts.definitions[sums.contrasts[contrast]]
  return terms > 0 && labelled.queries + labelled.keys > 0
}

function mixed(name: string): QkError {
  return new QkError(
    'ERR_ARGUMENT',
    `the contrast "${name}" has prompts with terms and prompts with labels`,
    {
      hint: 'Give them two names: the test of rank exchanges them in different ways.',
    },
  )
}

/** Most groups of heads whose rows are cached: two are tested at the same time. */
const AT_ONCE = 2

/** Caches the rows that were read last, since a test reads the same rows several times. */
class LastRead {
  #last: { kept: KeptRows; contrast: number; rows: Promise<KeptTerms | KeptLabels> }[] = []

  read(kept: KeptRows, contrast: number): Promise<KeptTerms | KeptLabels> {
    const known = this.#last.find((read) => read.kept === kept && read.contrast === contrast)
    const read = known ?? { kept, contrast, rows: kept.read(contrast) }
    this.#last = [read, ...this.#last.filter((other) => other !== read)].slice(0, AT_ONCE)
    return read.rows
  }
}
