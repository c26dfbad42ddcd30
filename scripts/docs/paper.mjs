/**
 * Writes paper.md from a run of `qkspace paper`.
 *
 *   npm run paper && node scripts/docs/paper.mjs [results/paper/paper.json]
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const [, , file = 'results/paper/paper.json'] = process.argv
const report = JSON.parse(readFileSync(file, 'utf8'))

const BESIDE = ['null mean', 'null p95', 'key components', 'mean query', 'random', 'above null']
const EFFECT = ['edited', 'rank', 'effect', 'value', 'low', 'high', ...BESIDE]
const SWAPS = ['edited', 'rank', 'moved', 'flipped', 'answer likeliest after']
const isShown = ({ effect }) => ['moved', 'flipped', 'answer lost'].includes(effect)
const isLimit = ({ kind }) => ['complement', 'whole'].includes(kind)

/** Tables that are shown, with their columns; `where` keeps some rows. */
const SHOWN = {
  2: [
    [
      'ranks',
      [
        'model',
        'accuracy',
        'contrast',
        'true rank',
        'fits',
        'rank',
        'null draws of that rank',
        'null draws',
        'null rank, median',
        'permutation rank',
        'permutation rank, exchanged labels',
      ],
    ],
  ],
  3: [['clusters', ['latent', 'side', 'rank', 'measure', 'value', ...BESIDE]]],
  4: [
    ['effects', EFFECT, isShown],
    ['swaps', SWAPS, isLimit],
  ],
  5: [['blocks', ['model', 'fits', 'within blocks', 'evenly spread', 'permuted mean', 'permuted p95', 'p']]],
  '6-7': [
    ['categories'],
    ['separation', ['subspace', 'rank', 'measure', 'value', ...BESIDE]],
    ['effects', EFFECT, isShown],
    ['swaps', SWAPS, isLimit],
  ],
  '8-9': [
    ['subspaces', ['word', 'centred', 'contrast', 'rank', 'total energy', 'score gap']],
    ['cosines', undefined, (row) => row.side === 'key'],
    ['places', ['subspace', 'centred', 'rank', 'measure', 'value', ...BESIDE]],
    ['effects', ['word', 'centred', ...EFFECT], isShown],
    ['swaps', ['word', 'centred', ...SWAPS], ({ kind, word }) => kind === 'whole' && word === 'apple'],
  ],
  10: [
    ['explained', ['word', 'covariances', 'rows', 'figure', 'value', 'low', 'high', ...BESIDE]],
    ['candidates'],
  ],
}

const NOTES = {
  2: 'r1 and r2 play the same part, so each pair of sizes is there once. The models "trained here" are trained by the command itself; the others come with the package. `rank` is that of the energy rule. Its null is a set of 20 matrices of the same terms with random signs by prompt: positive and negative keys exchanged. `permutation rank, exchanged labels` is the answer of the test on prompts that were exchanged so.',
  3: 'In task 1 the two keys of a term differ in nothing but the latent. Exchanging them at random leaves the span of their differences as it is, so null subspaces are the subspaces themselves: that keys cluster there says that the contrast varies one latent, not that the head compares it.',
  4: 'As in figure 3, null subspaces are the subspaces themselves, and so are the principal components of the keys. A random subspace of rank r1 + r2 is ten of the sixteen dimensions, so it moves much as well. That the complement of z1 + z2 moves nothing tells that attention is decided there. The payload stays where it is, so the answer follows the attention.',
  5: 'Entries of G are in `figure-5-interaction.csv`. The null orders the key latents at random, 999 times a model.',
  '6-7':
    'Subspaces and centroids come from seven words of each category, everything measured from the other three (the model itself was trained on all ten). Whole keys separate the categories as well. A null subspace here is the union of one null direction, or a few, of each of the eight contrasts. The output does not follow the attention entirely, and follows a swap of whole keys no further: more than this head’s attention decides it.',
  '8-9':
    'ΔC of the lexical contrast is zero on average when the words on both sides are drawn alike, so every prompt of a contrast asks for one fixed word, as in the paper. Both features are edited on the order prompts, as in the paper: a swap needs two keys of one run. Plain covariances contain the means of queries and keys: the first directions of order and lexical are nearly the same (first cosine), and what is between them is counted in both. Centred ones (`centred` yes) leave an order subspace of rank 2, in which the place can be read off the key.',
  10: '`residualize` in the order order, lexical: what both share is counted as order. `all keys` are all tokens up to the query, as in the paper. `candidate boxes, less their mean` are the scores of the five boxes alone, less their mean, which softmax ignores: what the head chooses by. The last table has them for one prompt, beside the mean parts of null subspaces.',
}

const cell = (value) => {
  if (value === null) {
    return ''
  }
  if (typeof value === 'boolean') {
    return value ? 'yes' : 'no'
  }
  if (typeof value !== 'number' || Number.isInteger(value)) {
    return String(value).replaceAll('|', '\\|')
  }
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(3)
}
const table = (columns, rows) =>
  [columns, columns.map(() => '---'), ...rows.map((row) => row.map(cell))]
    .map((row) => `| ${row.join(' | ')} |`)
    .join('\n')

function shown({ figure, tables }) {
  return (SHOWN[figure] ?? []).map(([name, wanted, where = () => true]) => {
    const { columns, rows } = tables.find((t) => t.name === name)
    const records = rows.map((row) => Object.fromEntries(columns.map((column, c) => [column, row[c]])))
    const picked = wanted ?? columns
    return table(
      picked,
      records.filter(where).map((record) => picked.map((column) => record[column])),
    )
  })
}

const title = (figure) => `Figure${figure.includes('-') ? 's' : ''} ${figure.replace('-', ' and ')}`
const percent = (fraction) => `${(100 * fraction).toFixed(1)}%`
const claimsOf = ({ further = [], ...own }) => [own, ...further]

/** A row each figure that decides a claim. */
const verdicts = report.figures.flatMap((found) =>
  claimsOf(found).flatMap(({ claim, verdict, decisive }) =>
    decisive.map(({ name, value, nulls, keys }, i) => [
      ...(i === 0 ? [found.figure.replace('-', ', '), claim] : ['', '']),
      `${name} ${percent(value)}`,
      nulls ? `${percent(nulls.mean)}, ${percent(nulls.p95)}` : 'none',
      typeof keys === 'number' ? percent(keys) : '',
      ...(i === 0 ? [`**${verdict}**`] : ['']),
    ]),
  ),
)

const introduction = [
  `Written by \`node scripts/docs/paper.mjs\` from \`npm run paper\`${report.quick ? ' (`--quick`)' : ''}, seed ${report.seed}: the experiments of [arXiv 2602.04752](https://arxiv.org/abs/2602.04752) on the toys and the small transformer that come with the package, not on the paper’s language models.`,
  'A claim has one of three verdicts:',
  [
    '- **held**: its figures meet the bars named below, and each is above the 95th percentile of its null. This is evidence.',
    '- **held, and random labels do as well**: the bars are met, but the null reaches one of the figures. The effect is there; that it is due to the labels of the contrast is not shown.',
    '- **not held**: a bar is missed.',
  ].join('\n'),
  'The null of a subspace is a set of 20 *null subspaces*: of the same rank and head, from the same prompts with positives and negatives exchanged at random. Twenty draws place the 95th percentile roughly, and one figure in twenty is above it by chance. `key components` are as many principal components of the keys as the subspace has dimensions; they need no labels at all. They do not decide a verdict, but where they reach a figure a subspace of the labels is not needed for it. `mean query` is the direction of the mean query, `random` are Haar subspaces.',
]
const outcome = [
  'The heads of figures 6 to 10 were **taught where to look**: an auxiliary loss rewarded them for it during the first two thirds of training ([the bundled models](../lib/bundled/README.md)). Notes below say so beside each.',
  'All tables, of which a part is below, are JSON and CSV in `results/paper`, with `report.html` that draws them; `runPaper({ only: [3, 5], quick: true })` gives the same in Node. `--random-labels` runs everything after exchanging positives and negatives at random. Intervals (`low`, `high`) are 95% bootstrap intervals over prompts. `moved` is the fraction of the origin’s attention that went to the target, `flipped` the fraction of prompts where the most attended key changed from one to the other, `answer lost` how many fewer prompts are answered right.',
]
const text = [
  '# The paper’s figures, on the bundled models',
  ...introduction,
  table(
    ['figure', 'claim', 'decided by', 'null: mean, 95th percentile', 'key components', 'verdict'],
    verdicts,
  ),
  ...outcome,
  ...report.figures.flatMap((found) => [
    `## ${title(found.figure)}: ${found.title}`,
    ...claimsOf(found).map(
      ({ claim, verdict, why }) => `${claim} **${verdict[0].toUpperCase()}${verdict.slice(1)}**: ${why}.`,
    ),
    ...(found.notes ?? []).map((note) => `> ${note}`),
    ...(NOTES[found.figure] ? [NOTES[found.figure]] : []),
    ...shown(found),
  ]),
]
writeFileSync(fileURLToPath(new URL('../../docs/paper.md', import.meta.url)), `${text.join('\n\n')}\n`)
