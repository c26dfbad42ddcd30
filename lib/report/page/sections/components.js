/** What each component of the subspace says: prompts and tokens at its two ends, beside those of a null direction. */

import { attributeCommand } from '../shared/commands.js'
import { absent, el, number, plural } from '../shared/dom.js'
import { onSelect, report, selection } from '../shared/selection.js'

export function components() {
  const body = el('div', {})
  const fill = () => {
    const blocks = report.attributions.flatMap((own) => blockOf(own))
    body.replaceChildren(
      ...(blocks.length > 0
        ? blocks
        : [
            absent(
              `What the components of “${selection.contrast}” in ${selection.head} say in tokens was not measured. To measure it:`,
              attributeCommand(),
            ),
          ]),
    )
  }
  onSelect(fill)
  fill()
  return el('section', { id: 'tokens', 'aria-labelledby': 'tokens-title' }, [
    el('h2', { id: 'tokens-title' }, 'What the subspace says'),
    body,
  ])
}

const SIDES = {
  query: { title: 'Queries', basis: 'U', of: 'prompts, by their query’s projection' },
  key: { title: 'Keys', basis: 'V', of: 'tokens, by their projection' },
}

function blockOf(own) {
  const { head, contrast } = selection
  const of = (side) => own.components?.[contrast]?.[side]?.[head] ?? []
  const count = Math.max(of('query').length, of('key').length)
  if (count === 0) {
    return []
  }
  const through = own.readsThrough?.[head]
  const unavailable = own.readsUnavailable?.[head]
  const cards = Array.from({ length: count }, (_, c) => card(c, of('query')[c], of('key')[c]))
  return [
    el(
      'p',
      {},
      'The ends of each component: the tokens and prompts with the largest projections, in standard deviations from the mean. Beside them in grey stands a direction of random labels, whose ends mean nothing: what a component says should be clearer than that.',
      through ? ` Vocabulary: ${through}.` : unavailable ? ` Vocabulary not read: ${unavailable}.` : '',
    ),
    ...cards.slice(0, 1),
    ...(cards.length > 1
      ? [
          el(
            'details',
            { class: 'more' },
            el('summary', {}, plural(cards.length - 1, 'more component')),
            ...cards.slice(1),
          ),
        ]
      : []),
  ]
}

function card(index, query, key) {
  const { block } = key ?? query
  const alone = block.length === 1
  return el('article', { class: 'component' }, [
    el('h3', {}, `Component ${index + 1}`),
    alone
      ? undefined
      : el(
          'p',
          { class: 'note' },
          `Components ${block[0]} to ${block.at(-1)} cannot be told apart: any direction among them is as good, so read them together.`,
        ),
    el(
      'div',
      { class: 'sides' },
      ...[
        ['key', key],
        ['query', query],
      ].flatMap(([side, own]) => (own ? sideOf(side, own, index) : [])),
    ),
  ])
}

function sideOf(side, own, index) {
  const { title, basis, of } = SIDES[side]
  return [
    el('div', {}, [
      el('h4', {}, `${title} (${basis}), ${of}`),
      ends(own),
      own.null
        ? el('div', { class: 'null-direction' }, [
            el('h5', {}, `Random labels, component ${index + 1}`),
            ends(own.null, 3),
          ])
        : el('p', { class: 'absent' }, 'No null direction: the result was made without null subspaces.'),
    ]),
  ]
}

function ends(own, count = 5) {
  return el('div', {}, [
    el(
      'div',
      { class: 'ends' },
      list('top', own.top.slice(0, count)),
      list('bottom', own.bottom.slice(0, count)),
    ),
    own.reads
      ? el('dl', { class: 'reads' }, [
          el('dt', {}, 'Reads most in the vocabulary'),
          el('dd', {}, chips(own.reads.top)),
          el('dt', {}, 'Least'),
          el('dd', {}, chips(own.reads.bottom)),
        ])
      : undefined,
  ])
}

const list = (end, extremes) =>
  el(
    'ol',
    { class: 'extremes', 'aria-label': end === 'top' ? 'Highest projections' : 'Lowest projections' },
    extremes.map(({ token, before, after, value, label }) =>
      el(
        'li',
        {},
        el('span', { class: 'value' }, signed(value)),
        el(
          'span',
          { class: 'context' },
          before ? `…${before}` : '',
          el('mark', {}, token),
          after ? `${after}…` : '',
        ),
        label ? el('span', { class: 'tag' }, label) : undefined,
      ),
    ),
  )

const chips = (tokens) =>
  tokens.map(({ token, value }) =>
    el('span', { class: 'chip' }, el('b', {}, token.trim() === '' ? '␣' : token), ` ${signed(value)}`),
  )

const signed = (value) => `${value > 0 ? '+' : ''}${number(value, 1)}`
