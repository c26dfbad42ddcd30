/**
 * What do the heads of a model do? Roles on random tokens, without any prompts.
 *
 *   node examples/roles.mjs
 */

import { bundledFile, openModel, sweep } from 'qkspace'

const model = await openModel(bundledFile('induction.onnx'))
const found = await sweep(model, undefined, { roles: true, seed: 1 })

for (const [head, roles] of Object.entries(found.roles)) {
  for (const { role, attention } of roles) {
    console.log(`${head}: ${role}, ${(100 * attention).toFixed(0)}% of its attention`)
  }
}

// Every row has its null: the 95th percentile over subspaces of exchanged prompts.
const induction = found.rows.find(({ head, contrast }) => head === 'L1H0' && contrast === 'induction')
const { moved } = induction.heldOut.swap
console.log(
  `L1H0, induction: exchanging the subspace moves ${percent(moved.value)} of the attention on held-out sequences,`,
)
console.log(
  `  subspaces of exchanged prompts ${percent(moved.null.p95)}, random ones ${percent(moved.random)}`,
)

function percent(fraction) {
  return `${(100 * fraction).toFixed(0)}%`
}
