/** What was analysed: model, prompts, contrasts, capture check, backend and seeds. */

import { absent, el, fileName, modelName, number, percent, plural, table } from '../shared/dom.js'
import { bestHead } from '../shared/evidence.js'
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
    el('h2', { id: 'overview-title' }, 'Overview'),
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
      fact('Capture', `verified; largest relative error ${worst.toExponential(1)}`),
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
        'relative error': site.relativeError.toExponential(1),
        queries: site.hooks.q,
      })),
      'Capture verification by layer',
    ),
    ...missing(),
  ]
}

const hash = (sha256) => el('span', { class: 'hash', title: `SHA-256 ${sha256}` }, ` ${sha256.slice(0, 10)}`)

function contrastRows(result) {
  return result.prompts.contrasts.map((name) => {
    const [first] = Object.values(result.heads)
    const best = bestHead(result, name)
    const { rule, prompts } = result.prompts.definitions[name] ?? {}
    const row = { contrast: name, rule: rule ?? '', prompts: prompts ?? '' }
    const { terms, skipped, test } = first[name]
    const tested = test ? { discovered: discoveries(result, name) } : {}
    if (!best)
      return { ...row, terms, skipped, ...tested, 'best head': 'none discovered', 'score gap': '', rank: '' }
    const { head, attention, scoreGap, rank } = best
    return {
      ...{ ...row, terms, skipped, ...tested, 'best head': test ? head : `${head} (untested)` },
      ...(attention && { 'attention on positives': percent(attention.positive) }),
      ...{ 'score gap': number(scoreGap, 2), rank },
    }
  })
}

/** How many heads the test of a contrast discovered, of how many. */
function discoveries(result, name) {
  const all = Object.values(result.heads)
  return `${all.filter((own) => own[name].test?.discovered).length} of ${all.length}`
}

/** Says once, near the top, what could be added. */
function missing() {
  const { path, hub } = selection.result.model
  const name = hub ? `hf:${hub.repo}@${hub.commit}/${hub.file}` : fileName(path)
  const common = `--model ${name} --prompts SET.jsonl --result RESULT.safetensors`
  const list = []
  if (report.interventions.length === 0) {
    list.push(absent('No intervention was given; add one with', `qkspace intervene ${common} --out I.json`))
  }
  if (report.attributions.length === 0) {
    list.push(absent('No attribution was given; add one with', `qkspace attribute ${common} --out A.json`))
  }
  return list
}
