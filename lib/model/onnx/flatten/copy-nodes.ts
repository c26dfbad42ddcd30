/** Copies nodes out of a function or a subgraph into the graph around it, with tensors renamed. */

import { create } from '@bufbuild/protobuf'
import { definedNames, graphsOf, withFields } from '../messages.js'
import {
  type AttributeProto,
  type GraphProto,
  type NodeProto,
  NodeProtoSchema,
  type SparseTensorProto,
} from '../proto/onnx_pb.js'
import type { TensorNames } from './tensor-names.js'

/** Names of a body's tensors in the graph that it is copied to. */
export class Scope {
  private readonly renamed = new Map<string, string>()

  /** `outside` resolves names that the body does not define. */
  constructor(private readonly outside: (name: string) => string) {}

  set(name: string, to: string): void {
    this.renamed.set(name, to)
  }

  has(name: string): boolean {
    return this.renamed.has(name)
  }

  /** Empty names stand for omitted inputs and outputs. */
  readonly resolve = (name: string): string =>
    name === '' ? '' : (this.renamed.get(name) ?? this.outside(name))
}

export interface CopyContext {
  names: TensorNames
  /** Values of a function's attributes in this call. References without a value are left out, as ONNX demands. */
  attributes?: ReadonlyMap<string, AttributeProto>
  /** Prefix of the names of nodes. */
  prefix: string
}

export interface Piece {
  nodes: readonly NodeProto[]
  /** Names of the piece's results, inside and outside ('' for an unused result). */
  outputs: readonly (readonly [inner: string, outer: string])[]
}

/**
 * The piece's nodes for the outer graph. A node that makes a result writes it directly to its outer name. Otherwise an
 * Identity does: for an input or constant that is passed on, or for a result that is used twice.
 */
export function copyPiece({ nodes, outputs }: Piece, scope: Scope, context: CopyContext): NodeProto[] {
  const { names, prefix } = context
  const made = new Set<string>()
  for (const { output } of nodes) {
    for (const name of output) {
      if (name) {
        made.add(name)
      }
    }
  }
  const passedOn: (readonly [string, string])[] = []
  for (const [inner, outer] of outputs) {
    if (outer === '') {
      continue
    }
    // A name that another subgraph also defines would refer to that subgraph's tensor inside it.
    if (made.has(inner) && !scope.has(inner) && names.timesDefined(outer) === 1) {
      scope.set(inner, outer)
    } else {
      passedOn.push([inner, outer])
    }
  }
  for (const name of made) {
    if (!scope.has(name)) {
      scope.set(name, names.claim(prefix + name))
    }
  }
  const copies = nodes.map((node) => copyNode(node, scope, context))
  for (const [inner, outer] of passedOn) {
    const name = `${prefix}Identity`
    copies.push(
      create(NodeProtoSchema, { opType: 'Identity', name, input: [scope.resolve(inner)], output: [outer] }),
    )
  }
  return copies
}

function copyNode(node: NodeProto, scope: Scope, context: CopyContext): NodeProto {
  return withFields(node, {
    name: context.prefix + (node.name || (context.prefix && node.opType)),
    input: node.input.map(scope.resolve),
    output: node.output.map(scope.resolve),
    attribute: node.attribute.flatMap((attribute) => copyAttribute(attribute, scope, context)),
  })
}

function copyAttribute(attribute: AttributeProto, scope: Scope, context: CopyContext): AttributeProto[] {
  if (attribute.refAttrName !== '' && context.attributes) {
    const given = context.attributes.get(attribute.refAttrName)
    return given ? [withFields(given, { name: attribute.name })] : []
  }
  if (graphsOf(attribute).length === 0) {
    return [attribute]
  }
  return [
    withFields(attribute, {
      ...(attribute.g ? { g: copyBody(attribute.g, scope, context) } : {}),
      graphs: attribute.graphs.map((body) => copyBody(body, scope, context)),
    }),
  ]
}

function copyBody(body: GraphProto, outside: Scope, context: CopyContext): GraphProto {
  const scope = new Scope(outside.resolve)
  for (const name of definedNames(body)) {
    if (!scope.has(name)) {
      scope.set(name, context.names.claim(name))
    }
  }
  const renamed = <T extends { name: string }>(item: T) =>
    withFields(item, { name: scope.resolve(item.name) } as Partial<T>)
  return withFields(body, {
    input: body.input.map(renamed),
    output: body.output.map(renamed),
    initializer: body.initializer.map(renamed),
    sparseInitializer: body.sparseInitializer.map((sparse) => renameSparse(sparse, scope)),
    valueInfo: body.valueInfo.filter(({ name }) => scope.has(name)).map(renamed),
    node: body.node.map((node) => copyNode(node, scope, context)),
  })
}

/** A sparse tensor bears the name of its values. */
export function renameSparse(sparse: SparseTensorProto, scope: Scope): SparseTensorProto {
  if (!sparse.values) {
    return sparse
  }
  return withFields(sparse, {
    values: withFields(sparse.values, { name: scope.resolve(sparse.values.name) }),
  })
}
