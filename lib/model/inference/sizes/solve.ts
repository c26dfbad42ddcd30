/** Solves for the sizes of the free axes of inputs, as far as the graph determines them. */

import type { Graph } from '../../onnx/graph.js'
import { filledRows, fusedShapes, type Held } from './fused-shapes.js'
import { shapeOfOutput } from './operator-shapes.js'
import { rootOf, type Shape, type Size, type Unknown } from './unknown.js'

/** The name of a free axis, or `input.axis` where it has none. */
export function axisKey(input: string, axis: number, name: string): string {
  return name || `${input}.${axis}`
}

const solved = new WeakMap<Graph, SolvedSizes>()

export function solvedSizes(graph: Graph): SolvedSizes {
  let found = solved.get(graph)
  if (!found) {
    found = new SolvedSizes(graph)
    solved.set(graph, found)
  }
  return found
}

export class SolvedSizes {
  private readonly unknowns = new Map<string, Unknown>()
  private readonly shapes = new Map<string, Shape>()
  private readonly held = new Map<string, Held>()

  constructor(graph: Graph) {
    for (const [name, { dims }] of graph.initializers) {
      this.shapes.set(name, dims.map(Number))
    }
    for (const { name, type } of graph.inputs) {
      const dims = type?.value.case === 'tensorType' ? (type.value.value.shape?.dim ?? []) : []
      const shape = dims.map(({ value }, axis) =>
        value.case === 'dimValue'
          ? Number(value.value)
          : this.unknown(axisKey(name, axis, value.value ?? '')),
      )
      this.shapes.set(name, shape)
    }
    const shapes = (tensor: string) => this.shapes.get(tensor)
    for (const node of graph.nodes) {
      const fused = fusedShapes(graph, node, shapes)
      const found = fused ? fused.output : shapeOfOutput(graph, node, shapes)
      for (const [tensor, value] of fused?.values ?? []) {
        this.held.set(tensor, value)
      }
      const constant = graph.attribute(node, 'value')?.t
      const output = constant && node.opType === 'Constant' ? constant.dims.map(Number) : found
      if (output && node.output[0]) {
        this.shapes.set(node.output[0], output)
      }
    }
  }

  /** The free axis of this key, or the representative of all axes equal to it. */
  private unknown(key: string): Unknown {
    let found = this.unknowns.get(key)
    if (!found) {
      found = { key }
      this.unknowns.set(key, found)
    }
    return found
  }

  /** The size that the graph gives a free axis. */
  exact(key: string): number | undefined {
    return rootOf(this.unknown(key)).value
  }

  /** Chooses sizes for the free axes of one batch. */
  choice(): ChosenSizes {
    return new ChosenSizes((key) => rootOf(this.unknown(key)))
  }

  /** The value that every element of an input must have, under the chosen sizes. */
  valueOf(input: string, chosen: ChosenSizes): number | undefined {
    const held = this.held.get(input)
    const number = (size: Size) => (typeof size === 'object' ? chosen.of(size) : size)
    if (typeof held === 'object' && 'buffer' in held) {
      return filledRows(number(held.buffer), number(held.added))
    }
    return number(held)
  }
}

/** Default factor of a size that must be a multiple. Heads of dimension 1 would be hard to tell apart. */
const PER_MULTIPLE = 8

export class ChosenSizes {
  private readonly chosen = new Map<Unknown, number>()

  constructor(private readonly root: (key: string) => Unknown) {}

  /** Sets an axis to a given size, whatever the graph says. */
  set(key: string, size: number): void {
    this.chosen.set(this.root(key), size)
  }

  /** The known size of an axis, or else `wanted` adjusted to fit. */
  take(key: string, wanted: () => number): number {
    const root = this.root(key)
    const known = this.of(root)
    if (known !== undefined) {
      return known
    }
    const { multiple = 1, guess } = root
    const fits = guess !== undefined && guess % multiple === 0
    const size = fits ? guess : multiple > 1 ? multiple * PER_MULTIPLE : wanted()
    this.chosen.set(root, size)
    return size
  }

  of(unknown: Unknown): number | undefined {
    const root = rootOf(unknown)
    const own = this.chosen.get(root) ?? root.value
    if (own !== undefined || !root.times) {
      return own
    }
    const other = rootOf(root.times.of)
    if (other.times && rootOf(other.times.of) === root) {
      return undefined
    }
    const base = this.take(other.key, () => PER_MULTIPLE)
    return base * root.times.factor
  }
}
