/** How TypeDoc makes the API reference. What is exported without a comment fails it, as does a link that leads nowhere. */

/** Types that public signatures name and that users hand on without looking inside; they are no part of the surface. */
const OPAQUE = [
  // The narrow interface to arithmetic: `backend` of sums and tensors only says where they are.
  'Backend',
  // The parsed graph, and what is known of a site in it: `decompose` and the functions of models read them.
  'Graph',
  'ResolvedSite',
  // Parts of `Sums` that `decompose` reads.
  'AttentionSums',
  'KeptRows',
  // The generator that a seed can be given as, inside the package.
  'Random',
  // What sweeps and results save alike.
  'SavedParts',
]

/** Constants of which only the names are public, through `keyof` and `typeof`. */
const NAMES_ONLY = ['MEASURES', 'SUFFIXES', 'VERDICTS']

export default {
  name: 'qkspace',
  entryPoints: ['../../lib/index.ts', '../../lib/arrays.ts'],
  out: '../../build/reference',
  readme: 'none',
  sort: ['source-order'],
  // The same pages from every checkout: no addresses of a commit, no dates.
  disableGit: true,
  disableSources: true,
  excludePrivate: true,
  excludeInternal: true,
  excludeExternals: true,
  requiredToBeDocumented: [
    'Module',
    'Function',
    'Class',
    'Constructor',
    'Method',
    'Accessor',
    'Interface',
    'Property',
    'TypeAlias',
    'Variable',
    'Enum',
    'EnumMember',
  ],
  intentionallyNotExported: [...OPAQUE, ...NAMES_ONLY],
  validation: { notDocumented: true, notExported: true, invalidLink: true },
  treatWarningsAsErrors: true,
  treatValidationWarningsAsErrors: true,
}
