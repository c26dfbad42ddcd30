/** Figures of null draws, as stored in documents. */

import * as s from '../../store/reading/schema.js'

export const nullFigures = s.fields({ count: s.count, mean: s.number, p95: s.number })
