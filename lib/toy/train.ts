/** Trains the toy model with AdamW (Loshchilov and Hutter, 2019) and a learning rate that falls to zero. */

import { throwIfAborted } from '../errors.js'
import { seededRandom } from '../math/random.js'
import {
  initialWeights,
  type ToyLoss,
  type ToyShape,
  type ToyWeights,
  toyLoss,
  WEIGHT_NAMES,
  zeroWeights,
} from './model.js'
import { type ToyConfig, ToyTask } from './task.js'

export interface ToyTraining {
  /** Learning rate at the start; it falls to zero along half a cosine. */
  learningRate: number
  weightDecay: number
  batch: number
  steps: number
}

/**
 * The authors train at a constant 1e-4, with batches of 256, for up to 50,000 steps. A rate that starts fifty times
 * higher and falls to zero achieves the same in 6,000 steps with batches of 64: about ten seconds.
 */
export const TOY_TRAINING: ToyTraining = {
  learningRate: 5e-3,
  weightDecay: 0.01,
  batch: 64,
  steps: 6000,
}

/** For tests and first experiments: two seconds. */
export const QUICK_TRAINING: ToyTraining = { ...TOY_TRAINING, steps: 1000 }

export interface TrainedToy extends ToyLoss {
  config: ToyConfig
  weights: ToyWeights
  steps: number
}

export interface TrainOptions {
  training?: ToyTraining
  signal?: AbortSignal
  onProgress?: (progress: { step: number; steps: number }) => void
}

const BETA1 = 0.9
const BETA2 = 0.999
const EPSILON = 1e-8
const VALIDATION = 4096

/**
 * Trains a model from scratch. Loss and accuracy are measured on samples outside the training data. The same
 * configuration and training give bitwise the same result. Errors: ERR_ABORTED.
 */
export async function trainToy(config: ToyConfig, options: TrainOptions = {}): Promise<TrainedToy> {
  const { training = TOY_TRAINING, signal, onProgress } = options
  const { steps, learningRate } = training
  const task = new ToyTask(config)
  const random = seededRandom(config.seed + 1)
  const weights = initialWeights(config, random)
  const adam = new AdamW(config, training.weightDecay)
  const batch = task.allocate(training.batch)
  for (let step = 1; step <= steps; step++) {
    const gradient = zeroWeights(config)
    toyLoss(config, weights, task.sample(random, batch), gradient)
    adam.update(weights, gradient, learningRate * 0.5 * (1 + Math.cos((Math.PI * step) / steps)))
    onProgress?.({ step, steps })
    await new Promise((resolve) => setImmediate(resolve))
    throwIfAborted(signal)
  }
  const fresh = task.sample(seededRandom(config.seed + 2), task.allocate(VALIDATION))
  return { config, weights, steps, ...toyLoss(config, weights, fresh) }
}

class AdamW {
  private readonly mean: ToyWeights
  private readonly square: ToyWeights
  private steps = 0

  constructor(
    shape: ToyShape,
    private readonly weightDecay: number,
  ) {
    this.mean = zeroWeights(shape)
    this.square = zeroWeights(shape)
  }

  update(weights: ToyWeights, gradient: ToyWeights, learningRate: number): void {
    this.steps += 1
    const meanBias = 1 - BETA1 ** this.steps
    const squareBias = 1 - BETA2 ** this.steps
    for (const name of WEIGHT_NAMES) {
      const [w, g, m, v] = [weights[name], gradient[name], this.mean[name], this.square[name]]
      for (let i = 0; i < w.length; i++) {
        m[i] = BETA1 * m[i] + (1 - BETA1) * g[i]
        v[i] = BETA2 * v[i] + (1 - BETA2) * g[i] * g[i]
        const step = m[i] / meanBias / (Math.sqrt(v[i] / squareBias) + EPSILON)
        w[i] -= learningRate * (step + this.weightDecay * w[i])
      }
    }
  }
}
