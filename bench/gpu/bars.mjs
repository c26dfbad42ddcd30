/** What is asked of the figures. A bar whose ceiling or peer was not measured is `met: null`, with the reason. */

/** All bars, by case; `docs/gpu.md` has them in words. */
export const BARS = {
  'resident-pairs': {
    /** The part of the floor's speed, by head dimension. */
    floor: { 64: 0.4, 128: 0.55, 256: 0.4 },
    /** Times PyTorch's gather and product in f32 at d = 128. */
    gather: 5,
  },
  category: {
    /** Times PyTorch's key sums, and its gather and product. */
    keySums: 1.3,
    gather: 15,
  },
  svd: {
    /** Most milliseconds of 4,096 matrices of 128 x 128: of the device, and of the call. */
    full: { deviceMs: 60, callMs: 150 },
    energy: { deviceMs: 14, callMs: 40 },
  },
  /** Most seconds of the call. */
  'sign-flip-nulls': { seconds: 0.4 },
  /** The part of the smaller of pinned copy and memcpy. */
  'from-host': { part: 0.8 },
}

/** A limit that was set for the sizes of `wholeSizes`; at other sizes only the figure. */
export const limitAt = (sizes, wholeSizes, wanted) =>
  Object.entries(wholeSizes).every(([name, size]) => sizes[name] === size) ? wanted : null

/**
 * The shortest time that the work can take, milliseconds: its bytes at the rate of a large copy or its operations at
 * that of a large product, whichever takes longer. f32-accurate products take three of TF32.
 */
export function floor({ bytes, operations, dtype }, { ceilings, absent }) {
  if (absent) {
    return { absent }
  }
  const product = dtype === 'f32' ? ceilings.tf32 : ceilings.bf16
  for (const ceiling of [ceilings.copy, product]) {
    if (ceiling.failed) {
      return { absent: ceiling.failed }
    }
  }
  const rate = product.operationsPerSecond / (dtype === 'f32' ? 3 : 1)
  const byBytes = (1e3 * bytes) / ceilings.copy.bytesPerSecond
  const byOperations = (1e3 * operations) / rate
  return { ms: Math.max(byBytes, byOperations), boundBy: byBytes > byOperations ? 'bytes' : 'operations' }
}

/** At least `wanted` of the floor's speed. */
export function speedBar(floorFound, medianMs, wanted) {
  if (floorFound.absent) {
    return { what: 'of the floor', wanted, met: null, absent: floorFound.absent }
  }
  const value = floorFound.ms / medianMs
  return { what: 'of the floor', wanted, value, met: wanted === null ? null : value >= wanted }
}

/** At least `wanted` times as fast as a peer; with `wanted` null, only the ratio. */
export function peerBar(name, { peers, absent }, medianMs, wanted) {
  const peer = peers?.[name]
  const what = `times as fast as ${name}`
  if (absent || !peer || peer.failed) {
    return { what, wanted, met: null, absent: absent ?? peer?.failed ?? 'not measured' }
  }
  const value = peer.medianMs / medianMs
  return { what, wanted, value, met: wanted === null ? null : value >= wanted }
}

/** At least `wanted` of the smaller of the pinned copy's and the host's memory bandwidth. */
export function hostBar(bytesPerSecond, { ceilings, absent }, wanted) {
  const what = 'of the smaller of pinned copy and memcpy'
  const failed = absent ?? ceilings.pinned.failed ?? ceilings.memcpy.failed
  if (failed) {
    return { what, wanted, met: null, absent: failed }
  }
  const value = bytesPerSecond / Math.min(ceilings.pinned.bytesPerSecond, ceilings.memcpy.bytesPerSecond)
  return { what, wanted, value, met: value >= wanted }
}

/** At most so many milliseconds, or seconds; with `wanted` null, only the figure. */
export function timeBar(what, value, wanted) {
  return { what, wanted, value, most: true, met: wanted === null ? null : value <= wanted }
}
