/** The fast tier: `npm test`. */

import all from './ava.config.js'
import { slowFiles } from './test/tiers.js'

export default { ...all, files: [...all.files, ...slowFiles().map((file) => `!${file}`)] }
