/** Documents with one field after another replaced by something of another kind. */

/**
 * For every kind of field of a document, indices left out, a copy in which one field of the kind is something else:
 * an object where a value stood, a number where an object or a list stood. Fields whose place fits `free` are let be.
 */
export function* withFields(document, { free = /^$/ } = {}) {
  const seen = new Set()
  function* walk(value, path) {
    const place = path.join('.')
    const kind = path.map((part) => (/^\d+$/.test(part) ? '*' : part)).join('.')
    if (free.test(place)) {
      return
    }
    const isNew = !seen.has(kind)
    seen.add(kind)
    if (isNew && path.length > 0) {
      yield {
        place,
        changed: replaced(document, path, typeof value === 'object' && value ? 7 : { other: true }),
      }
    }
    if (typeof value === 'object' && value !== null) {
      for (const [key, inner] of Object.entries(value)) {
        yield* walk(inner, [...path, key])
      }
    }
  }
  yield* walk(document, [])
}

function replaced(document, path, value) {
  const copy = structuredClone(document)
  const parent = path.slice(0, -1).reduce((at, key) => at[key], copy)
  parent[path.at(-1)] = value
  return copy
}
