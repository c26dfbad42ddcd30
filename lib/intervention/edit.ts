/** The edits of interventions, in arrays and in the model. */

/** `swap` and `patch` take the coordinates of another row, `ablate` removes them, `scale` multiplies them. */
export type Edit = 'swap' | 'patch' | 'ablate' | 'scale'

export const EDITS: readonly Edit[] = ['swap', 'patch', 'ablate', 'scale']
