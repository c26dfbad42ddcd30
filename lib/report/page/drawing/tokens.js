/** A prompt's text, token by token: shaded, with marks for query and keys; hovering or moving to one gives numbers. */

import { el, roving } from '../shared/dom.js'
import { inkOn } from '../shared/theme.js'

/** Tokenizers mark a space in several ways. */
export const readable = (word) => word.replace(/[Ġ▁]/g, ' ').replace(/Ċ/g, '⏎')

/** Words of word-level tokenizers carry no space of their own. */
export function spaced(words) {
  return words.some((word) => /^[Ġ▁ ]/.test(word) || word.startsWith('##'))
}

/** Marks of tokens, by what they are in the term: kinds of a `marks` list, each with what a legend says of it. */
export const markLegend = ({ positive, negative }) =>
  el('p', { class: 'legend marks' }, [
    el('span', {}, el('span', { class: 'token query', 'aria-hidden': 'true' }, 'a'), 'query'),
    positive && el('span', {}, el('span', { class: 'token positive', 'aria-hidden': 'true' }, 'a'), positive),
    negative && el('span', {}, el('span', { class: 'token negative', 'aria-hidden': 'true' }, 'a'), negative),
  ])

/** What every token of a prompt is in a term: `query`, `positive`, `negative` or undefined. */
export function marksOf(term, query, length) {
  const marks = Array(length).fill(undefined)
  for (const i of term?.negative ?? []) {
    marks[i] = 'negative'
  }
  for (const i of term?.positive ?? []) {
    marks[i] = 'positive'
  }
  marks[query] = 'query'
  return marks
}

const MARK_WORDS = { query: 'the query', positive: 'positive key', negative: 'negative key' }

/**
 * `shade(i)` gives the background of a token, or undefined; `marks` what each is; `describe(i)` its numbers in words;
 * `show(i)` marks it elsewhere.
 */
export function tokenText({ words, shade, marks = [], describe, show = () => {}, current = 0, hint }) {
  const apart = !spaced(words)
  const live = el('p', { class: 'live', 'aria-live': 'polite' })
  const nodes = words.map((word, i) => {
    const tell = () => {
      live.textContent = describe(i)
      for (const other of nodes) {
        other.classList.toggle('current', other === nodes[i])
      }
      show(i)
    }
    const node = el(
      'span',
      {
        class: `token ${marks[i] ?? ''}`,
        role: 'button',
        'data-token': `${i}`,
        'aria-label': `${readable(word)}${marks[i] ? `, ${MARK_WORDS[marks[i]]}` : ''}: ${describe(i)}`,
        focus: tell,
        mouseenter: tell,
      },
      readable(word),
    )
    const background = shade(i)
    if (background) {
      node.style.background = background
      node.style.color = inkOn(background)
    }
    return node
  })
  const last = words.length - 1
  const moves = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }
  const ends = { Home: 0, End: last }
  roving(nodes, (key, i) => (key in ends ? ends[key] : key in moves ? i + moves[key] : undefined), current)
  live.textContent = hint ?? 'Point at a token, or move through them with arrow keys, to read its numbers.'
  return el(
    'div',
    {},
    el(
      'p',
      { class: 'tokens', role: 'group', 'aria-label': 'Tokens of the prompt' },
      nodes.flatMap((node) => (apart ? [node, ' '] : [node])),
    ),
    live,
  )
}
