/** Gradient of the toy loss by central differences, weight by weight. */

import { toyLoss, WEIGHT_NAMES, zeroWeights } from '../../dist/toy/model.js'

const STEP = 1e-5

export function differenceGradient(shape, weights, batch) {
  const gradient = zeroWeights(shape)
  for (const name of WEIGHT_NAMES) {
    for (let i = 0; i < weights[name].length; i++) {
      const lossAt = (delta) => {
        const moved = { ...weights, [name]: weights[name].slice() }
        moved[name][i] += delta
        return toyLoss(shape, moved, batch).loss
      }
      gradient[name][i] = (lossAt(STEP) - lossAt(-STEP)) / (2 * STEP)
    }
  }
  return gradient
}
