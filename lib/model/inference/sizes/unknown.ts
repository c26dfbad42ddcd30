/** Sizes of axes while they are solved for: what is known of a free axis, and which free axes are one. */

/** A free axis of inputs. Axes that are equal share what is known, through `same`. */
export interface Unknown {
  /** Its name, or `input.axis` where it has none. */
  key: string
  same?: Unknown
  value?: number
  /** What it most likely is, where nothing says for certain. */
  guess?: number
  /** Its size is a multiple of this. */
  multiple?: number
  /** Its size is so many times that of another one. */
  times?: { factor: number; of: Unknown }
}

/** A number, a free axis, or nothing that is known. */
export type Size = number | Unknown | undefined
export type Shape = Size[]

/** What stands for all axes that are equal to this one. */
export function rootOf(unknown: Unknown): Unknown {
  let root = unknown
  while (root.same) {
    root = root.same
  }
  // The next look is short, however long the chain was.
  if (unknown !== root) {
    unknown.same = root
  }
  return root
}

/** The number, where it is known by now. */
export function settled(size: Size): Size {
  if (typeof size !== 'object') {
    return size
  }
  const root = rootOf(size)
  return root.value ?? root
}

/**
 * Takes two sizes for equal. What was said first of an axis holds: a contradiction is the model's, or a rule's that
 * does not know the operator well enough, and onnxruntime has the last word on both.
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

/** Takes `size` for `factor` times `of`, whichever of the two is known. */
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
