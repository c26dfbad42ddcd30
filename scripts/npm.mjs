/** The command line of the npm that runs a script, or else of the one on the PATH: program, then arguments. */
export function npmCommand(...args) {
  const running = process.env.npm_execpath
  return running ? [process.execPath, running, ...args] : ['npm', ...args]
}
