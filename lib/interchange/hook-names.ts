/** TransformerLens names of queries and keys in hooks and caches. */

export interface HookName {
  /** As in the names of heads: `enc`, `dec` or `cross` in a model with several kinds of layers. */
  kind?: string
  layer: number
  side: 'q' | 'k'
  /** After rotation by position. */
  rotary: boolean
}

/** Parses names such as `blocks.3.attn.hook_rot_q`. Undefined for any other name. */
export function parseHookName(name: string): HookName | undefined {
  const found = /^(?:(enc|dec|cross)\.)?blocks\.(\d{1,6})\.attn\.hook_(rot_)?([qk])$/.exec(name)
  if (!found) {
    return undefined
  }
  const [, kind, layer, rotary, side] = found
  return {
    ...(kind && { kind }),
    layer: Number(layer),
    side: side as 'q' | 'k',
    rotary: rotary !== undefined,
  }
}
