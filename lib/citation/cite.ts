/** How to cite a saved result or sweep: its settings in sentences, and the references. */

import { methodsParagraph } from './paragraph.js'
import { readCitedSource } from './read-source.js'
import { PAPER_BIBTEX, softwareBibtex } from './references.js'
import { type CitedSettings, citedSettings } from './settings.js'

/** How a saved result was made, as settings and as text, with what to cite. */
export interface Citation {
  /** The settings that the file tells. */
  settings: CitedSettings
  /** For a methods section; every figure is the file's, and what the file lacks is named. */
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
 * Of a file that `decompose` or `sweep` saved as `.safetensors`, `.npz` or `.json`; tensors are not read. Errors: ERR_FILE,
 * ERR_FORMAT where it is none.
 */
export async function cite(file: string): Promise<Citation> {
  const settings = citedSettings(await readCitedSource(file))
  return {
    settings,
    paragraph: methodsParagraph(settings),
    bibtex: { paper: PAPER_BIBTEX, software: softwareBibtex(settings.versions.qkspace) },
  }
}
