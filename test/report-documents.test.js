/** Documents for a report that are damaged, or whose parts speak of different things, are refused with the place. */

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { readAttribution, readExplanation, readInterventions, readPaper, runPaper } from '../dist/index.js'
import { withFields } from './helpers/damage.js'
import { temporaryFolder } from './helpers/files.js'
import { testedParts } from './helpers/report-parts.js'

const folder = temporaryFolder(test)
const file = path.join(folder, 'document.json')
const made = {}

const READERS = {
  attribution: readAttribution,
  interventions: readInterventions,
  explanation: readExplanation,
  paper: readPaper,
}

test.before(async () => {
  const parts = { ...(await testedParts()), paper: await runPaper({ quick: true, only: [2, 5] }) }
  for (const kind of Object.keys(READERS)) {
    made[kind] = JSON.parse(JSON.stringify(parts[kind]))
  }
})

const read = (kind, document) => {
  writeFileSync(file, JSON.stringify(document))
  return READERS[kind](file)
}

for (const kind of Object.keys(READERS)) {
  test.serial(
    `${kind}: what was written is read; a field of another kind is refused with its place`,
    async (t) => {
      t.deepEqual(await read(kind, made[kind]), made[kind])
      let tried = 0
      for (const { place, changed } of withFields(made[kind], { free: /example\.(?!rule$)/ })) {
        /** @type {import('../dist/index.js').QkError} */
        const { message, code } = await t.throwsAsync(read(kind, changed), undefined, place)
        t.is(code, 'ERR_FORMAT', place)
        // Without its main fields it is no document of any kind; one without `contrasts` is of an earlier version.
        if (/was not written by|earlier version/.test(message)) {
          continue
        }
        t.true(message.includes(place.replace(/(\.\d+)+$/, '')), `${place}: ${message}`)
        t.true(message.startsWith(`${file}: `), message)
        tried += 1
      }
      t.true(tried >= 20, `${tried}`)
    },
  )
}

const edited = (kind, edit) => {
  const copy = structuredClone(made[kind])
  edit(copy)
  return read(kind, copy)
}

const disagreements = [
  [
    'attribution',
    (d) => delete d.heads.L3H0,
    /examples\.\d+\.rows\.\d+\.head is "L3H0", which is none of the heads/,
  ],
  [
    'attribution',
    (d) => delete d.heads.L3H0.contrasts.order,
    /rows\.\d+\.contrast is "order", which is none of the contrasts of L3H0/,
  ],
  ['attribution', (d) => d.features.push('colour'), /share has no "colour", which is one of the features/],
  ['attribution', (d) => d.examples[0].rows[0].rest.pop(), /examples\.0\.rows\.0\.rest has the length/],
  ['attribution', (d) => d.examples[0].rows[0].parts.order.pop(), /rows\.0\.parts\.order has the length/],
  ['attribution', (d) => delete d.examples[0].rows[0].parts.order, /rows\.0\.parts has no "order"/],
  [
    'attribution',
    (d) => {
      d.examples[0].words = ['The']
    },
    /examples\.0\.rows\.0 reaches beyond the 1 tokens?/,
  ],
  ['attribution', (d) => d.points.order.key.roles.pop(), /points\.order\.key\.roles has the length/],
  [
    'attribution',
    (d) => d.points.order.key.heads.L3H0.coordinates.pop(),
    /key\.heads\.L3H0\.coordinates has the length/,
  ],
  [
    'interventions',
    (d) => {
      d.heads = ['L0H0']
    },
    /variants\.0\.heads has L3H0, which is none of the heads/,
  ],
  ['interventions', (d) => delete d.variants[0].ranks.L3H0, /variants\.0\.ranks has no rank of L3H0/],
  [
    'explanation',
    (d) => d.prompts[0].heads[0].attention.pop(),
    /prompts\.0\.heads\.0\.attention has the length/,
  ],
  ['explanation', (d) => d.prompts[0].heads[0].scores.pop(), /prompts\.0\.heads\.0\.scores has the length/],
  [
    'explanation',
    (d) => {
      d.prompts[0].query = 999
    },
    /prompts\.0\.query names the token 999 of a prompt of \d+ tokens/,
  ],
  [
    'explanation',
    (d) => {
      d.prompts[0].heads[0].key = 999
    },
    /heads\.0\.key names the token 999/,
  ],
  ['explanation', (d) => d.prompts[0].terms[0].positive.push(999), /terms\.0 names the token 999/],
  ['paper', (d) => d.figures[0].tables[0].rows[0].pop(), /figures\.0\.tables\.0\.rows\.0 has the length/],
  [
    'paper',
    (d) => {
      d.figures[0].decisive = []
    },
    /figures\.0\.decisive is empty/,
  ],
  [
    'paper',
    (d) => {
      d.figures[0].verdict = 'proven'
    },
    /figures\.0\.verdict is "proven", expected "held" or/,
  ],
]

for (const [i, [kind, edit, message]] of disagreements.entries()) {
  test.serial(`${kind}: parts that disagree are refused (${i + 1})`, async (t) => {
    await t.throwsAsync(edited(kind, edit), { code: 'ERR_FORMAT', message })
  })
}
