/** Verifies captures: scores recomputed from queries and keys against the model's own (design: contract 3). */

import { once } from 'node:events'
import { fullCaptureGraph } from '../capture-graph.js'
import type { FusedAttention } from '../dialects/dialect.js'
import { InferenceSession, type WireTensor } from '../inference/session.js'
import type { Graph } from '../onnx/graph.js'
import { returnThread, takeThread } from '../threads.js'
import { PASSING_OPS, RESHAPING_OPS, type ScoreCheck, type Verification } from './recompute.js'
import type { RecomputeRequest, RecomputeResponse } from './recompute-worker.js'
import type { ResolvedSite } from './site.js'

/** Runs a batch with every row and the scores fetched, and checks each site. */
export async function verifySites(
  graph: Graph,
  sites: readonly ResolvedSite[],
  feeds: Record<string, WireTensor>,
  threads: number,
): Promise<Verification[]> {
  const capture = fullCaptureGraph(
    graph,
    sites.map((site) => ({ site })),
    sites.flatMap((site) => scoreTensors(graph, site)),
  )
  const checks = sites.map((site, i) => scoreCheck(graph, site, capture.outputs[i]))
  const { weightsFolder } = graph.model
  const session = await InferenceSession.open({ bytes: capture.bytes, weightsFolder, threads })
  let tensors: Record<string, WireTensor>
  try {
    tensors = await session.run(
      Object.fromEntries(capture.inputs.map((name) => [name, feeds[name]] as const)),
    )
  } finally {
    await session.close()
  }
  // A mask may be an input of the model.
  return recompute({ checks, tensors: { ...feeds, ...tensors } })
}

async function recompute(request: RecomputeRequest): Promise<Verification[]> {
  const program = new URL('./recompute-worker.js', import.meta.url)
  const worker = takeThread(program)
  const answered = once(worker, 'message')
  worker.postMessage(request)
  const [response]: RecomputeResponse[] = await answered
  returnThread(program, worker)
  if ('error' in response) throw response.error
  return response.verified
}

/** Everything besides queries and keys that the recomputation reads. */
function scoreTensors(graph: Graph, site: ResolvedSite): string[] {
  const { steps, softmaxInput, product, fused } = site.candidate
  // Steps that reshape, and the product itself, are fetched for their shapes.
  const read = steps.flatMap(({ node, chain }) => {
    if (PASSING_OPS.includes(node.opType)) return []
    if (RESHAPING_OPS.includes(node.opType)) return [node.output[0]]
    return node.input.filter((name, i) => i !== chain && name !== '')
  })
  const own = fused ? ownTensors(fused).flatMap(({ own, unfolded }) => [own, unfolded]) : []
  const fetched = new Set([softmaxInput, product.output[0], ...read, ...own])
  return [...fetched].filter((name) => graph.producers.has(name) || graph.initializers.has(name))
}

function scoreCheck(graph: Graph, site: ResolvedSite, { q, k }: { q: string; k: string }): ScoreCheck {
  const { product, steps, softmaxInput, fused } = site.candidate
  return {
    q,
    k,
    product: product.output[0],
    productAxes: site.productAxes,
    operandScale: site.operandScale,
    steps: steps.map(({ node, chain }) => ({
      op: node.opType,
      inputs: node.input,
      output: node.output[0],
      chain,
      perm: graph.ints(node, 'perm'),
    })),
    softmaxInput,
    own: fused ? ownTensors(fused) : [],
  }
}

/** What a fused operator gives out, beside what its subgraph computes; its attention output comes first. */
function ownTensors({ node, output, scores }: FusedAttention): { own: string; unfolded: string }[] {
  return [{ own: node.output[0], unfolded: output }, ...(scores ? [scores] : [])]
}
