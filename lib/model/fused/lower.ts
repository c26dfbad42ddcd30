/** Finds the fused attention operators of a graph and lowers each into an equivalent subgraph beside it. */

import { create } from '@bufbuild/protobuf'
import type { FusedAttention, RefusedSite } from '../candidate.js'
import { Graph } from '../onnx/graph.js'
import { NodeWriter } from '../onnx/node-writer.js'
import {
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  OperatorSetIdProtoSchema,
} from '../onnx/proto/onnx_pb.js'
import { type FusedOperator, type Refusal, SubgraphWriter } from './fused-operator.js'
import { groupQueryAttention } from './group-query-attention.js'
import { decoderMaskedAttention, multiHeadAttention } from './multi-head-attention.js'
import { onnxAttention } from './onnx-attention.js'
import { packedAttention } from './packed-attention.js'

const CONTRIB = 'com.microsoft'

const onGpusOnly = (): Refusal => ({
  reason: 'onnxruntime runs it on GPUs only',
  needs: 'an export with MultiHeadAttention or with attention written out',
})
const refused = (reason: string, needs: string) => (): Refusal => ({ reason, needs })

/** By domain and operator. */
const FUSED_OPERATORS: Record<string, FusedOperator> = {
  Attention: onnxAttention,
  [`${CONTRIB}.Attention`]: packedAttention,
  [`${CONTRIB}.MultiHeadAttention`]: multiHeadAttention,
  [`${CONTRIB}.GroupQueryAttention`]: groupQueryAttention,
  [`${CONTRIB}.DecoderMaskedMultiHeadAttention`]: decoderMaskedAttention,
  [`${CONTRIB}.DecoderMaskedSelfAttention`]: onGpusOnly,
  [`${CONTRIB}.DecoderAttention`]: onGpusOnly,
  [`${CONTRIB}.PackedAttention`]: onGpusOnly,
  [`${CONTRIB}.PackedMultiHeadAttention`]: onGpusOnly,
  [`${CONTRIB}.PagedAttention`]: onGpusOnly,
  [`${CONTRIB}.LongformerAttention`]: onGpusOnly,
  [`${CONTRIB}.QOrderedAttention`]: onGpusOnly,
  [`${CONTRIB}.QAttention`]: refused(
    'its queries and keys are made by a quantised product inside',
    'a model whose weights are quantised around the attention (QDQ, MatMulNBits)',
  ),
  [`${CONTRIB}.SparseAttention`]: refused(
    'each head sees blocks of keys of its own',
    'an export with GroupQueryAttention or with attention written out',
  ),
  [`${CONTRIB}.LinearAttention`]: refused('it has no scores', 'attention with a softmax'),
}

/** The operator's name, with its domain unless that is ONNX's own. */
function operatorName({ domain, opType }: NodeProto): string {
  return domain && domain !== 'ai.onnx' ? `${domain}.${opType}` : opType
}

function isFusedAttention(node: NodeProto): boolean {
  return Object.hasOwn(FUSED_OPERATORS, operatorName(node))
}

/** Whether a node may be attention: it normalises scores, or is a fused operator. */
export function normalisesScores(node: NodeProto): boolean {
  return node.opType === 'Softmax' || isFusedAttention(node)
}

export interface Lowered {
  /** The graph with the subgraphs, each after its fused operator. */
  graph: Graph
  fused: FusedAttention[]
  unsupported: RefusedSite[]
}

/** Opset of the subgraphs' operators in a model that imports no opset of ONNX's own operators. */
const DEFAULT_OPSET = 17n

export function lowerAttention(graph: Graph): Lowered {
  const fused: FusedAttention[] = []
  const unsupported: RefusedSite[] = []
  const initializers = []
  const nodes: NodeProto[] = []
  for (const node of graph.nodes) {
    nodes.push(node)
    const op = operatorName(node)
    if (!isFusedAttention(node)) {
      continue
    }
    const write = new SubgraphWriter(new NodeWriter(`qkspace.lowered.${fused.length}`))
    const result = FUSED_OPERATORS[op]({ graph, node, write })
    if ('reason' in result) {
      unsupported.push({ node: node.name || node.output[0], op, ...result, at: node })
      continue
    }
    fused.push({ ...result, node, op })
    nodes.push(...write.addedNodes)
    initializers.push(...write.addedInitializers)
  }
  if (fused.length === 0) {
    return { graph, fused, unsupported }
  }
  const { proto } = graph.model
  const opsetImport = graph.hasDefaultOpset
    ? proto.opsetImport
    : [...proto.opsetImport, create(OperatorSetIdProtoSchema, { domain: '', version: DEFAULT_OPSET })]
  const lowered = create(ModelProtoSchema, { ...proto, opsetImport })
  lowered.graph = create(GraphProtoSchema, {
    ...proto.graph!,
    node: nodes,
    initializer: [...proto.graph!.initializer, ...initializers],
  })
  return { graph: new Graph({ ...graph.model, proto: lowered }), fused, unsupported }
}
