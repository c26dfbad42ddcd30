/**
 * Kills commands at random moments, on a folder that has earlier results: each file must be the earlier one or the new
 * one, whole. `node scripts/kill-test.mjs [--command NAME ...] [--moments 40] [--seed 0]`.
 *
 * With `--resume`, decompose and sweep are run with a checkpoint and killed by SIGKILL, again and again: whenever a run ends, its
 * files must be those of a run that was not killed.
 *
 * Signals take turns. What a process wrote beside its targets is gone when it ends by SIGINT or SIGTERM; SIGKILL, which no
 * process hears of, may leave a file whose name begins with a dot and ends with `.part`. Exits 1 where anything else is
 * found.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { COMMANDS, killAtMoments } from './kills/kill.mjs'
import { killAndResume, RESUMED } from './kills/resume.mjs'

const { values } = parseArgs({
  options: {
    command: { type: 'string', multiple: true },
    moments: { type: 'string', default: '40' },
    seed: { type: 'string', default: '0' },
    resume: { type: 'boolean', default: false },
  },
})
const [moments, seed] = ['moments', 'seed'].map((option) => {
  const value = Number(values[option])
  if (!Number.isSafeInteger(value) || value < 0) {
    usage(`--${option} is ${values[option]}, expected a whole number`)
  }
  return value
})
const known = values.resume ? RESUMED : COMMANDS
const names = values.command ?? Object.keys(known)
const unknown = names.find((name) => !(name in known))
if (unknown !== undefined) {
  usage(`there is no command ${unknown}; there are ${Object.keys(known).join(', ')}`)
}

let failed = false
for (const name of names) {
  const folder = mkdtempSync(path.join(os.tmpdir(), `qkspace-kills-${name}-`))
  try {
    const { told, wrong } = await (values.resume ? resumed(name, folder) : killed(name, folder))
    process.stdout.write(`${name}: ${moments} kills, ${wrong.length} wrong (${told})\n`)
    for (const line of wrong) {
      process.stdout.write(`  ${line}\n`)
    }
    failed ||= wrong.length > 0
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
process.exit(failed ? 1 : 0)

async function killed(name, folder) {
  const { counts, wrong } = await killAtMoments(name, { folder, moments, seed })
  const told = Object.entries(counts).map(([outcome, times]) => `${outcome} ${times}`)
  return { told: told.join(', '), wrong }
}

async function resumed(name, folder) {
  const { ends, resumed: again, wrong } = await killAndResume(name, { folder, kills: moments, seed })
  return { told: `${ends} ends, ${again} runs went on from a checkpoint`, wrong }
}

function usage(message) {
  process.stderr.write(`${message}\n`)
  process.exit(2)
}
