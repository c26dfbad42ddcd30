/** What `qkspace paper` writes as paper.json. */

import type { Turn } from '../../backend/cooperate.js'
import type { PaperFigure, PaperSizes, PaperTable } from '../../paper/figure.js'
import type { PaperReport } from '../../paper/index.js'
import { type DecisiveFigure, type PaperClaim, VERDICTS } from '../../paper/verdict.js'
import * as s from '../../store/reading/schema.js'
import { nullFigures } from './null-figures.js'

const decisive = s.fields({
  name: s.text,
  value: s.number,
  bar: s.text,
  met: s.flag,
  against: s.text,
  nulls: s.nullable(nullFigures),
  keys: s.optional(s.number),
} satisfies s.Fields<DecisiveFigure>)

const claim = {
  claim: s.text,
  verdict: s.oneOf(...VERDICTS),
  why: s.text,
  decisive: s.list(decisive),
} satisfies s.Fields<PaperClaim>

const table = s.fields({
  name: s.text,
  columns: s.texts,
  rows: s.list(s.list(s.either('a text, a number or true or false', s.text, s.number, s.flag))),
} satisfies s.Fields<PaperTable>)

const figure = s.fields({
  ...claim,
  figure: s.text,
  title: s.text,
  further: s.optional(s.list(s.fields(claim))),
  notes: s.optional(s.texts),
  tables: s.list(table),
} satisfies s.Fields<PaperFigure>)

const sizes = s.fields({
  toyPrompts: s.count,
  trainToys: s.flag,
  clusters: s.count,
  retrieval: s.count,
  categories: s.count,
  boxes: s.count,
  boxesWords: s.count,
  heldOut: s.count,
  randoms: s.count,
} satisfies s.Fields<PaperSizes>)

const document = s.fields({
  paper: s.text,
  version: s.text,
  quick: s.flag,
  seed: s.number,
  randomLabels: s.flag,
  sizes,
  figures: s.list(figure),
} satisfies s.Fields<PaperReport>)

/** Checks the fields of the document, and that the rows of its tables have their columns. Errors: ERR_FORMAT. */
export async function checkPaper(value: unknown, misfit: s.Misfit, turn: Turn): Promise<PaperReport> {
  await s.checkInParts(document, value, misfit, turn)
  const report = value as PaperReport
  for (const [f, { tables, decisive: figures }] of report.figures.entries()) {
    if (figures.length === 0) {
      throw misfit(`figures.${f}.decisive`, 'is empty, expected the figures that decide the claim')
    }
    for (const [t, { columns, rows }] of tables.entries()) {
      for (const [r, row] of rows.entries()) {
        s.checkLength(row, columns.length, `figures.${f}.tables.${t}.rows.${r}`, misfit)
      }
    }
  }
  return report
}
