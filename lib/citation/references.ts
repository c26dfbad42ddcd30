/** The references of a methods paragraph, as BibTeX. */

/** Lee, Belinkov, Viégas and Wattenberg, arXiv 2602.04752: the method. */
export const PAPER_BIBTEX = `@misc{lee2026decomposing,
  title = {Decomposing Query-Key Feature Interactions Using Contrastive Covariances},
  author = {Lee, Andrew and Belinkov, Yonatan and Vi{\\'e}gas, Fernanda and Wattenberg, Martin},
  year = {2026},
  eprint = {2602.04752},
  archivePrefix = {arXiv},
  url = {https://arxiv.org/abs/2602.04752}
}`

/** The software, at the version that made the file. Without a version if the file does not give it. */
export function softwareBibtex(version: string | null): string {
  return [
    '@software{qkspace,',
    '  title = {qkspace: contrastive query-key subspaces of ONNX models},',
    '  author = {{The qkspace authors}},',
    ...(version === null ? [] : [`  version = {${version}},`]),
    '  license = {MIT}',
    '}',
  ].join('\n')
}
