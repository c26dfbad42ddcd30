import { conformance } from '../helpers/arithmetic-conformance.js'

conformance('cuda')
