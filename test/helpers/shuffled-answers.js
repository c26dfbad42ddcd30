/** Prompts whose positive key is drawn anew among all keys of the term: there is nothing to find. */
export function shuffledAnswers(prompts, seed) {
  let state = seed
  const below = (n) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
  return prompts.map(({ terms, keyNames: _, ...prompt }) => ({
    ...prompt,
    terms: terms.map(({ query, positive, negative }) => {
      const keys = [...positive, ...negative]
      const [answer] = keys.splice(below(keys.length), 1)
      return { query, positive: [answer], negative: keys }
    }),
  }))
}
