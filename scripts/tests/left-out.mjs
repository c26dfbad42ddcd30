/** Says what the fast tier has left out. */

import { SLOW, slowFiles } from '../../test/tiers.js'

process.stderr.write(
  `This was the fast tier. Left out, and run by npm run test:all: ${slowFiles().length} files\n`,
)
for (const [what, names] of Object.entries(SLOW)) {
  process.stderr.write(`  ${what}: ${names.join(', ')}\n`)
}
