/** Cites a saved result or sweep: its settings in sentences, and the references. */

import { methodsParagraph } from './paragraph.js'
import { readCitedSource } from './read-source.js'
import { PAPER_BIBTEX, softwareBibtex } from './references.js'
import { type CitedSettings, citedSettings } from './settings.js'

/** Settings of a saved result, as data and as text, with the references. */
export interface Citation {
  /** The settings in the file. */
  settings: CitedSettings
  /** Paragraph for a methods section. Every figure comes from the file, and missing settings are named. */
  paragraph: string
  /** The method's paper, and the software. */
  bibtex: {
    /** BibTeX of the method's paper, arXiv 2602.04752. */
    paper: string
    /** BibTeX of qkspace, in the version that made the file. */
    software: string
  }
}

/**
 * Cites a file that `decompose` or `sweep` saved as `.safetensors`, `.npz` or `.json`; tensors are not read. Errors:
 * ERR_FILE, ERR_FORMAT for any other file.
 */
export async function cite(file: string): Promise<Citation> {
  const settings = citedSettings(await readCitedSource(file))
  return {
    settings,
    paragraph: methodsParagraph(settings),
    bibtex: { paper: PAPER_BIBTEX, software: softwareBibtex(settings.versions.qkspace) },
  }
}
