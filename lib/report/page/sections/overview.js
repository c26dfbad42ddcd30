/** What was analysed: model, prompts, contrasts, capture check, backend and seeds. */

import { rankedFindings } from '../../finding/evidence.ts'
import { el, fileName, modelName, number, percent, plural, table } from '../shared/dom.js'
import { onSelect, report, selection } from '../shared/selection.js'

const RULES = {
  permutation: ({ alpha = 0.05 }) =>
    `permutation: more than exchanged prompts show, false discovery rate ${alpha}`,
  energy: ({ threshold }) => `energy: the smallest rank that holds ${threshold * 100}% of ‖ΔC‖²`,
  fixed: ({ rank }) => `fixed: ${rank}`,
}

export function overview() {
  const body = el('div', {})
  const fill = () => body.replaceChildren(...parts(selection.result))
  onSelect(({ result }) => result && fill())
  fill()
  return el('section', { id: 'overview', 'aria-labelledby': 'overview-title' }, [
    el('h2', { id: 'overview-title' }, 'Where the numbers come from'),
    body,
  ])
}

function parts(result) {
  const { model, prompts, backend, estimator, center, rank, seed, sites, versions } = result
  const worst = Math.max(...sites.map((site) => site.relativeError))
  const heads = Object.keys(result.heads).length
  const fact = (name, ...value) => el('div', {}, el('dt', {}, name), el('dd', {}, ...value))
  return [
    el(
      'dl',
      { class: 'facts' },
      fact(
        'Model',
        modelName(model),
        ...(model.hub ? [` at ${model.hub.commit.slice(0, 12)}`] : []),
        hash(model.sha256),
      ),
      fact('Prompts', `${prompts.prompts} from ${fileName(prompts.source)}`, hash(prompts.sha256)),
      fact('Heads', `${heads} in ${plural(new Set(sites.map((s) => s.layer)).size, 'layer')}`),
      fact('Capture', `verified; largest relative error ${errorWords(worst)}`),
      fact('Backend', `${backend.name} (${backend.instructionSet})`),
      fact('Estimator', `${estimator}${center ? ', centred' : ''}`),
      fact('Rank', RULES[rank.rule]?.(rank) ?? rank.rule),
      fact('Seed', `${seed}`),
      fact(
        'Versions',
        Object.entries(versions)
          .map(([name, version]) => `${name} ${version}`)
          .join(', '),
      ),
    ),
    el('h3', {}, 'Contrasts'),
    table(contrastRows(result), 'Contrasts'),
    el('h3', {}, 'Capture verification'),
    el(
      'p',
      {},
      'Scores recomputed from the captured queries and keys, against the model’s own: ‖S − S′‖ / ‖S‖ on the first prompt.',
    ),
    table(
      sites.map((site) => ({
        layer: `${site.kind ? `${site.kind}.` : ''}L${site.layer}`,
        heads: site.heads,
        'key heads': site.kvHeads,
        'head dim': site.headDim,
        'relative error': errorWords(site.relativeError),
        queries: site.hooks.q,
      })),
      'Capture verification by layer',
    ),
    el('h3', {}, 'Files'),
    table(fileRows(result), 'Files that the page shows'),
    ...(report.leftOut ?? []).map((text) => el('p', { class: 'note' }, `Left out of this page: ${text}`)),
  ]
}

const errorWords = (error) =>
  error === 0 ? '0, every compared score has the same bits' : error.toExponential(1)

const hash = (sha256) => el('span', { class: 'hash', title: `SHA-256 ${sha256}` }, ` ${sha256.slice(0, 10)}`)

function contrastRows(result) {
  return result.prompts.contrasts.map((name) => {
    const [first] = Object.values(result.heads)
    const [ranked] = rankedFindings(result, [], [name])
    const best = ranked.found.test && !ranked.found.test.discovered ? undefined : ranked
    const { rule, prompts } = result.prompts.definitions[name] ?? {}
    const row = { contrast: name, rule: rule ?? '', prompts: prompts ?? '' }
    const { terms, skipped, test } = first[name]
    const tested = test ? { discovered: discoveries(result, name) } : {}
    if (!best) {
      return { ...row, terms, skipped, ...tested, 'best head': 'none discovered', 'score gap': '', rank: '' }
    }
    const { head } = best
    const { attention, scoreGap, rank } = best.found
    return {
      ...row,
      terms,
      skipped,
      ...tested,
      'best head': test ? head : `${head} (untested)`,
      ...(attention && { 'attention on positives': percent(attention.positive) }),
      'score gap': number(scoreGap, 2),
      rank,
    }
  })
}

/** How many heads the test of a contrast discovered, of how many. */
function discoveries(result, name) {
  const all = Object.values(result.heads)
  return `${all.filter((own) => own[name].test?.discovered).length} of ${all.length}`
}

/** Every document on the page, with the command that writes such a one. */
function fileRows(result) {
  const row = (file, shows, command, prompts, more) => ({
    file,
    shows,
    'written by': command,
    prompts: `${prompts.prompts} from ${fileName(prompts.source)}, SHA-256 ${prompts.sha256.slice(0, 10)}`,
    settings: more,
  })
  const single = (own) =>
    `${own.heads.join(', ')}; ${own.edit} of ${own.side === 'key' ? 'keys' : 'queries'}; seed ${own.seed}`
  return [
    row(
      result.name,
      'all heads, tests of rank, spectra',
      'qkspace decompose',
      result.prompts,
      `seed ${result.seed}`,
    ),
    ...report.interventions.map((own) =>
      row(own.name, 'edits', 'qkspace intervene', own.prompts, single(own)),
    ),
    ...report.attributions.map((own) =>
      row(
        own.name,
        'explained fractions, scores, tokens, points',
        'qkspace attribute',
        own.prompts,
        `${own.method}; seed ${own.seed}`,
      ),
    ),
    ...report.explanations.map((own) => ({
      file: own.name,
      shows: 'attention of stored prompts, their edits',
      'written by': 'qkspace explain',
      prompts: own.prompts.map(({ where }) => where).join(', '),
      settings: `seed ${own.seed}`,
    })),
    ...report.papers.map((own) => ({
      file: own.name,
      shows: 'the paper’s figures',
      'written by': 'qkspace paper',
      prompts: '',
      settings: `seed ${own.seed}`,
    })),
  ]
}
