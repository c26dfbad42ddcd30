/** The prompts of a sweep, given or random sequences, with the contrasts of the roles that enough of them have. */

import { type PromptSet, type Prompts, promptSet } from '../contrast/prompt-set.js'
import { FEW_UNITS } from '../contrast/unit-limits.js'
import { QkError } from '../errors.js'
import type { Model } from '../model/model.js'
import { type HeadSpec, parseHeads } from '../model/sites/heads.js'
import { headName } from '../model/sites/site.js'
import { randomSequences } from './roles/random-sequences.js'
import { withRoles } from './roles/role-set.js'
import type { Role } from './roles/role-terms.js'

export interface SetSettings {
  roles: readonly Role[]
  heads: 'all' | string | readonly HeadSpec[]
  sequences: number
  length: number
  seed: number
  signal?: AbortSignal
}

export interface PreparedSet {
  set: PromptSet
  heads: SetSettings['heads']
  warnings: string[]
  /** Whether the prompts are random sequences. */
  random: boolean
}

/** Most terms of a role in a prompt. */
const TERMS_OF_ROLE = 4

/**
 * Prepares the prompts. Roles that fewer than 20 prompts have are left out, with a warning. Errors: ERR_ARGUMENT if
 * there are neither prompts nor roles, or none remain; those of prompts.
 */
export async function preparedSet(
  model: Model,
  prompts: Prompts | undefined,
  { roles, heads, sequences, length, seed, signal }: SetSettings,
): Promise<PreparedSet> {
  const random = prompts === undefined
  if (roles.length === 0) {
    if (random) {
      throw new QkError('ERR_ARGUMENT', 'a sweep needs prompts, or roles: true for those of its tokens')
    }
    return { set: promptSet(prompts), heads, warnings: [], random }
  }
  const own = promptSet(prompts ?? (await randomSequences(model, { sequences, length, seed })), {
    bare: true,
  })
  const self = parseHeads(heads, model.sites).filter(({ site }) => !model.sites[site].cross)
  if (self.length === 0) {
    throw new QkError('ERR_ARGUMENT', 'roles are those of self attention, and no such head is chosen')
  }
  const all = withRoles(model, own, { roles, each: TERMS_OF_ROLE, seed })
  const { contrasts, definitions } = await all.summary(signal)
  const asked: readonly string[] = roles
  const rare = contrasts.filter((name) => asked.includes(name) && definitions[name].prompts < FEW_UNITS)
  const kept = roles.filter((role) => contrasts.includes(role) && !rare.includes(role))
  if (contrasts.length === rare.length) {
    throw new QkError('ERR_ARGUMENT', `no role is seen in ${FEW_UNITS} prompts or more`, {
      hint: 'Give more prompts, or longer ones; without prompts, random sequences are used.',
    })
  }
  const missing = roles.filter((role) => !contrasts.includes(role))
  const warnings = rare.map((role) => `${role}: only ${definitions[role].prompts} prompts have it; left out`)
  if (missing.length > 0) {
    warnings.push(`${missing.join(', ')}: left out, no prompt has such keys`)
  }
  if (model.sites.some(({ cross }) => cross)) {
    warnings.push('heads of cross attention have no roles, and were left out')
  }
  return {
    set: withRoles(model, own, { roles: kept, each: TERMS_OF_ROLE, seed }),
    heads: self.map(({ site, head }) => headName(model.sites[site], head)).join(','),
    warnings,
    random,
  }
}
