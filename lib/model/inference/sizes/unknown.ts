/** Unknowns of the size solver: what is known about a free axis, and which free axes are equal. */

/** A free axis of inputs. Equal axes share their knowledge through `same`. */
export interface Unknown {
  /** Its name, or `input.axis` where it has none. */
  key: string
  same?: Unknown
  value?: number
  /** Most likely size, if no constraint determines it. */
  guess?: number
  /** Its size is a multiple of this. */
  multiple?: number
  /** Its size is a factor times that of another axis. */
  times?: { factor: number; of: Unknown }
}

/** A number, a free axis, or undefined for an unknown size. */
export type Size = number | Unknown | undefined
export type Shape = Size[]

/** The representative of all axes equal to this one. */
export function rootOf(unknown: Unknown): Unknown {
  let root = unknown
  while (root.same) {
    root = root.same
  }
  // Path compression: the next search is short, however long the chain was.
  if (unknown !== root) {
    unknown.same = root
  }
  return root
}

/** The size as a number, if it is known by now. */
export function settled(size: Size): Size {
  if (typeof size !== 'object') {
    return size
  }
  const root = rootOf(size)
  return root.value ?? root
}

/**
 * Records that two sizes are equal. The first constraint on an axis wins. A contradiction comes from the model, or
 * from a rule that does not know the operator well enough; onnxruntime decides in both cases.
 */
export function equate(left: Size, right: Size): void {
  const [a, b] = [settled(left), settled(right)]
  if (a === undefined || b === undefined || a === b) {
    return
  }
  if (typeof a === 'object' && typeof b === 'object') {
    b.same = a
    a.multiple = leastCommonMultiple(a.multiple ?? 1, b.multiple ?? 1)
    a.guess ??= b.guess
    if (b.times && rootOf(b.times.of) !== a) {
      a.times ??= b.times
    }
    return
  }
  if (typeof a === 'object') {
    a.value = b as number
  } else if (typeof b === 'object') {
    b.value = a
  }
}

export function equateMultiple(size: Size, multiple: number): void {
  const known = settled(size)
  if (typeof known === 'object' && multiple > 1) {
    known.multiple = leastCommonMultiple(known.multiple ?? 1, multiple)
  }
}

export function guess(size: Size, value: number): void {
  const known = settled(size)
  if (typeof known === 'object') {
    known.guess ??= value
  }
}

/** Records that `size` is `factor` times `of`; either may be the known one. */
export function equateTimes(size: Size, factor: number, of: Size): void {
  const [a, b] = [settled(size), settled(of)]
  if (typeof b === 'number') {
    equate(a, b * factor)
  } else if (typeof a === 'number' && a % factor === 0) {
    equate(b, a / factor)
  } else if (typeof a === 'object' && typeof b === 'object' && a !== b) {
    a.times ??= { factor, of: b }
  }
}

function leastCommonMultiple(a: number, b: number): number {
  let [x, y] = [a, b]
  while (y > 0) {
    ;[x, y] = [y, x % y]
  }
  return (a / x) * b
}
