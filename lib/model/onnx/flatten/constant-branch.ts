/** Determines which branch of an If is taken, if that is known before the model runs. */

import { describeNode, plainDomain } from '../messages.js'
import type { GraphProto, NodeProto, TensorProto } from '../proto/onnx_pb.js'

const BOOL = 9

/**
 * Input of merged decoders (Optimum, transformers.js) that says whether the cache is read. Prompts are run without a
 * cache.
 */
const CACHE_SWITCH = 'use_cache_branch'

/** Possible sources of the conditions of a graph. */
export interface ConditionSources {
  producer(tensor: string): NodeProto | undefined
  initializer(tensor: string): TensorProto | undefined
  /** Whether the tensor is a boolean input of the graph, which the caller must give. */
  isSwitch(tensor: string): boolean
  hasAttention(nodes: readonly NodeProto[]): boolean
}

export interface TakenBranch {
  body: GraphProto
  /** Note for the user. */
  note: string
}

export class BranchChooser {
  /** Inputs of the graph whose value had to be chosen. Every If on such an input follows the choice. */
  readonly chosen = new Map<string, boolean>()

  constructor(private readonly sources: ConditionSources) {}

  /** The branch that replaces an If, if attention lies in this or another branch of it. */
  take(node: NodeProto): TakenBranch | undefined {
    if (node.opType !== 'If' || plainDomain(node.domain) !== '') {
      return undefined
    }
    const yes = node.attribute.find((a) => a.name === 'then_branch')?.g
    const no = node.attribute.find((a) => a.name === 'else_branch')?.g
    if (!yes || !no || yes.input.length > 0 || no.input.length > 0) {
      return undefined
    }
    const condition = this.trace(node.input[0])
    const constant = this.constant(condition)
    const isSwitch = constant === undefined && this.sources.isSwitch(condition)
    if (constant === undefined && !isSwitch) {
      return undefined
    }
    const inYes = this.sources.hasAttention(yes.node)
    const inNo = this.sources.hasAttention(no.node)
    const fixed = constant ?? this.chosen.get(condition)
    if (!inYes && !inNo && (isSwitch ? fixed === undefined : true)) {
      return undefined
    }
    const value = fixed ?? (condition !== CACHE_SWITCH && inYes && !inNo)
    if (isSwitch) {
      this.chosen.set(condition, value)
    }
    const why = isSwitch
      ? `its input "${condition}" is taken to be ${value}`
      : `its condition is always ${value}`
    return { body: value ? yes : no, note: `${describeNode(node)}: the branch for ${value}, since ${why}` }
  }

  private trace(tensor: string): string {
    const seen = new Set<string>()
    for (let name = tensor; ; ) {
      const node = this.sources.producer(name)
      if (node?.opType !== 'Identity' || seen.has(name)) {
        return name
      }
      seen.add(name)
      name = node.input[0]
    }
  }

  private constant(tensor: string): boolean | undefined {
    const node = this.sources.producer(tensor)
    const value =
      node?.opType === 'Constant'
        ? node.attribute.find((a) => a.name === 'value')?.t
        : this.sources.initializer(tensor)
    if (value?.dataType !== BOOL || value.externalData.length > 0) {
      return undefined
    }
    const data = value.rawData.length > 0 ? value.rawData : value.int32Data
    return data.length === 1 ? data[0] !== 0 : undefined
  }
}
