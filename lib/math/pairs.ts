/**
 * Maps items asynchronously, two at a time: JavaScript works on one item while native threads work on the other.
 */

/**
 * The results in the order of the items. After an error no further item starts, and the running one is awaited.
 */
export async function mapInPairs<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = new Array(items.length)
  let next = 0
  let failed = false
  const lane = async () => {
    while (next < items.length && !failed) {
      const i = next++
      try {
        results[i] = await work(items[i])
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  const lanes = await Promise.allSettled([lane(), lane()])
  for (const lane of lanes) {
    if (lane.status === 'rejected') {
      throw lane.reason
    }
  }
  return results
}
