/** Numbers of things in messages. */

/** A number with its noun: "1 prompt", "2 prompts", "3 queries". */
export function counted(
  count: number,
  one: string,
  many = one.endsWith('y') ? `${one.slice(0, -1)}ies` : `${one}s`,
): string {
  return `${count} ${count === 1 ? one : many}`
}
