/** Examples at the end of a command's help. */

/** Commands as a user would type them; a test runs each. */
export function examples(...lines: string[]): string {
  return `\n${lines.length === 1 ? 'Example' : 'Examples'}:\n${lines.map((line) => `  ${line}`).join('\n')}`
}
