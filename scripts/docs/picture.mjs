/**
 * Draws picture.svg: the scores of one head of the bundled transformer on one prompt, how much of each comes from the
 * subspace in which the head matches the word that is asked about, and how much from subspaces of exchanged prompts.
 *
 *   node scripts/docs/picture.mjs
 */

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { bundledFile, bundledWords } from '../../dist/bundled/files.js'
import { boxesLexical, boxesText } from '../../dist/contrast/families/boxes.js'
import { accumulate, attributeArrays, capture, decompose, openModel } from '../../dist/index.js'

const { objects, boxes } = bundledWords()
const model = await openModel(bundledFile('boxes.onnx'), { tokenizer: bundledFile('boxes.tokenizer.json') })
const prompts = boxesLexical({ objects, boxes, prompts: 400, seed: 5 }, 'question', 'match')
const result = await decompose(await accumulate(model, prompts))

/** Of the heads that are discovered, the one that attends most to the answer. */
const head = result.headNames
  .filter((name) => result.head(name).contrast('match').test.discovered)
  .reduce((best, name) => (attention(name) > attention(best) ? name : best))
function attention(name) {
  return result.head(name).contrast('match').attention.positive
}
const [layer] = head.match(/\d+/g).map(Number)
const site = model.sites[layer]
const { u, rank, nulls, headDim: d } = result.head(head).contrast('match')

const text = boxesText(['apple', 'ring', 'pear', 'drum'], ['O', 'K', 'A', 'T'], 'pear')
const { ids } = await model.tokenizer.encode(text)
const scores = await scoreRow(ids)
draw(ids.map(model.tokenizer.token), scores)

/**
 * Scores of the last token with every token, and their part within the subspace, scale * k · U U^T q; the same of null
 * subspaces, from the second smallest to the second largest of 20.
 */
async function scoreRow(tokens) {
  const { activations } = await capture(model, { tokens }, { heads: head })
  const inside = (basis) =>
    attributeArrays({
      q: { data: activations[site.hooks.q].data.subarray(-d), shape: [1, d] },
      k: { data: activations[site.hooks.k].data, shape: [1, tokens.length, d] },
      scale: site.scale,
      centered: false,
      features: [{ name: 'part', u: { data: basis, shape: [d, rank] } }],
    })
  const own = inside(u)
  const others = Array.from({ length: nulls.count }, (_, b) =>
    inside(nulls.u.slice(b * d * rank, (b + 1) * d * rank)),
  )
  return tokens.map((_, j) => {
    const none = others.map(({ parts }) => parts.part[j]).sort((a, b) => a - b)
    return { total: own.total[j], inside: own.parts.part[j], null: [none[1], none[none.length - 2]] }
  })
}

function draw(tokens, rows) {
  const [width, height, left, top, bottom] = [880, 330, 48, 62, 64]
  const low = Math.min(0, ...rows.flatMap((r) => [r.total, r.inside, ...r.null]))
  const high = Math.max(...rows.flatMap((r) => [r.total, r.inside, ...r.null]))
  const y = (v) => top + ((high - v) / (high - low)) * (height - top - bottom)
  const step = (width - left - 12) / rows.length
  const bars = rows.map(({ total, inside, null: none }, t) => {
    const x = left + t * step
    const bar = (v, name, inset) => {
      const from = Math.min(y(v), y(0))
      const size = Math.abs(y(v) - y(0))
      return `<rect class="${name}" x="${(x + inset).toFixed(1)}" y="${from.toFixed(1)}" width="${(step - 2 * inset).toFixed(1)}" height="${size.toFixed(1)}"/>`
    }
    const label = `<text class="token" transform="translate(${(x + step / 2 + 4).toFixed(1)} ${height - bottom + 12}) rotate(-55)" text-anchor="end">${tokens[t].replace('<', '&lt;')}</text>`
    const middle = (x + step / 2).toFixed(1)
    const [from, to] = none.map((v) => y(v).toFixed(1))
    const band = `<line class="null" x1="${middle}" x2="${middle}" y1="${from}" y2="${to}"/>`
    return bar(total, 'total', step * 0.12) + bar(inside, 'inside', step * 0.3) + band + label
  })
  const ticks = [Math.ceil(low / 10) * 10, 0, Math.floor(high / 10) * 10].filter(
    (v, i, all) => all.indexOf(v) === i,
  )
  const axis = ticks.map(
    (v) =>
      `<line class="grid" x1="${left}" x2="${width - 12}" y1="${y(v).toFixed(1)}" y2="${y(v).toFixed(1)}"/><text class="token" x="${left - 6}" y="${(y(v) + 4).toFixed(1)}" text-anchor="end">${v}</text>`,
  )
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="Attention scores of head ${head} by token">
<style>
  svg { background: #ffffff; font: 13px system-ui, sans-serif; }
  text { fill: #1f2933; } .token { font-size: 12px; }
  .total { fill: #c3ccd6; } .inside { fill: #c2410c; } .grid { stroke: #9aa5b1; stroke-width: 0.5; }
  .null { stroke: #1f2933; stroke-width: 2.5; stroke-linecap: round; }
</style>
<text x="${left}" y="24" font-weight="600">Why did head ${head} attend to “A”? “… Which box is the pear in? Box”</text>
<rect class="total" x="${left}" y="36" width="12" height="12"/><text class="token" x="${left + 18}" y="46">score from the last token</text>
<rect class="inside" x="${left + 190}" y="36" width="12" height="12"/><text class="token" x="${left + 208}" y="46">its part in the asked word’s subspace (rank ${rank} of ${d})</text>
<line class="null" x1="${left + 590}" x2="${left + 590}" y1="36" y2="48"/><text class="token" x="${left + 600}" y="46">in subspaces of exchanged prompts</text>
${axis.join('\n')}
${bars.join('\n')}
</svg>
`
  writeFileSync(fileURLToPath(new URL('../../docs/picture.svg', import.meta.url)), svg)
}
