/** The libraries, which the page loads before its own script. */

export const { Plot, d3 } = globalThis
