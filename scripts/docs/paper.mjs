/**
 * Writes paper.md from a run of `qkspace paper`.
 *
 *   npm run paper && node scripts/docs/paper.mjs [results/paper/paper.json]
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const [, , file = 'results/paper/paper.json'] = process.argv
const report = JSON.parse(readFileSync(file, 'utf8'))

const SWAPS = [
  'edited',
  'rank',
  'origin after',
  'target after',
  'moved',
  'flipped',
  'answer likeliest after',
  'kl',
]
/** Tables that are shown, with their columns; `where` keeps some rows. */
const SHOWN = {
  2: [['ranks', ['model', 'accuracy', 'contrast', 'true rank', 'rank', 'fits', 'recovered']]],
  3: [['clusters']],
  4: [['swaps', SWAPS]],
  5: [['blocks', ['model', 'fits', 'within blocks', 'evenly spread']]],
  '6-7': [['categories'], ['separation'], ['swaps', SWAPS]],
  '8-9': [
    ['subspaces', ['word', 'centred', 'contrast', 'rank', 'total energy', 'score gap']],
    ['cosines', undefined, (row) => row.side === 'key'],
    ['places'],
    ['swaps', ['word', 'centred', ...SWAPS], (row) => row.kind !== 'complement'],
  ],
  10: [['explained', ['word', 'subspaces', 'rows centred', 'energy', 'energy low', 'energy high']]],
}

const NOTES = {
  2: 'r1 and r2 play the same part, so each pair of sizes is there once. The models "trained here" are trained by the command itself; the others come with the package.',
  4: 'A random subspace of rank r1 + r2 is ten of the sixteen dimensions, so it moves much as well: what tells is that the complement of z1 + z2 moves nothing. The payload stays where it is, so the answer follows the attention.',
  5: 'Entries of G are in `figure-5-interaction.csv`.',
  '6-7':
    'Subspaces and centroids come from seven words of each category, everything measured from the other three (the model itself was trained on all ten). Whole keys separate the categories as well. The output does not follow the attention entirely, and follows a swap of whole keys no further: more than this head’s attention decides it.',
  '8-9':
    'ΔC of the lexical contrast is zero on average when the words on both sides are drawn alike, so every prompt of a contrast asks for one fixed word, as in the paper. Plain covariances contain the means of queries and keys: the first directions of order and lexical are nearly the same (first cosine), and what is between them is counted in both. Centred ones (`centred` true) leave a clean order subspace of rank 2, in which the place can be read off the key, and a lexical one of rank about 8 that carries most of the attention by itself; their random control has a higher rank and moves more, over the bar of the plain ones.',
  10: '`residualize` in the order order, lexical: what both share is counted as order. Rows are of all tokens up to the query. Random subspaces are of the same ranks on both contrasts, one draw a word. Most of what plain subspaces explain is the direction of the mean query, which order and lexical share: it is not by itself evidence of either.',
}

const cell = (value) => {
  if (value === null) return ''
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (typeof value !== 'number' || Number.isInteger(value)) return String(value).replaceAll('|', '\\|')
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
const text = [
  '# The paper’s figures, on the bundled models',
  `Written by \`node scripts/docs/paper.mjs\` from \`npm run paper\`${report.quick ? ' (`--quick`)' : ''}, seed ${report.seed}: the experiments of [arXiv 2602.04752](https://arxiv.org/abs/2602.04752) on the toys and the small transformer that come with the package, not on the paper’s language models. "Held" means that the bars named under each figure were met here. All tables, of which a part is below, are JSON and CSV in \`results/paper\`, with \`report.html\` that draws them; \`runPaper({ only: [3, 5], quick: true })\` gives the same in Node. Intervals are 95% bootstrap intervals over prompts; \`moved\` is the fraction of the origin’s attention that went to the target.`,
  table(
    ['figure', 'claim', 'held'],
    report.figures.map(({ figure, claim, held }) => [figure.replace('-', ', '), claim, held]),
  ),
  ...report.figures.flatMap((found) => [
    `## ${title(found.figure)}: ${found.title}`,
    `${found.claim} **${found.held ? 'Held' : 'Did not hold'}**: ${found.why}.`,
    ...(NOTES[found.figure] ? [NOTES[found.figure]] : []),
    ...shown(found),
  ]),
]
writeFileSync(fileURLToPath(new URL('../../docs/paper.md', import.meta.url)), `${text.join('\n\n')}\n`)
