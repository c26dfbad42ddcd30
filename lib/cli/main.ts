#!/usr/bin/env node
/** The `qkspace` command: parses arguments, runs a command, turns errors into messages and exit statuses. */

import { Command, CommanderError, type Option } from 'commander'
import { QkError } from '../errors.js'
import { versions } from '../versions.js'
import { registerAttribute } from './analysis/attribute.js'
import { registerCapture } from './analysis/capture.js'
import { registerDecompose } from './analysis/decompose.js'
import { registerExplain } from './analysis/explain.js'
import { registerIntervene } from './analysis/intervene.js'
import { registerSweep } from './analysis/sweep.js'
import { registerSubmit } from './cluster/submit.js'
import { registerWorker } from './cluster/worker.js'
import { endAtOnceOnSignals } from './common/interrupt.js'
import { registerBuild } from './environment/build.js'
import { registerDoctor } from './environment/doctor.js'
import { registerInspect } from './inputs/inspect.js'
import { registerPower } from './inputs/power.js'
import { registerPrompts } from './inputs/prompts.js'
import { registerCite } from './results/cite.js'
import { registerCompare } from './results/compare.js'
import { registerDemo } from './results/demo.js'
import { registerExport } from './results/export.js'
import { registerMerge } from './results/merge.js'
import { registerPaper } from './results/paper.js'
import { registerReport } from './results/report.js'
import { registerToy } from './results/toy.js'

const EXIT = { failed: 1, usage: 2 } as const

endAtOnceOnSignals()

// A reader that closes the pipe early, as in `qkspace inspect ... | head`, is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : EXIT.failed)
})

const program = new Command('qkspace')
  .description(
    'Why did this attention head attend to that token? Contrastive query-key subspaces of ONNX models.',
  )
  .version(versions().qkspace)
  .showHelpAfterError('(see --help)')
  .exitOverride()

for (const register of [
  registerInspect,
  registerPrompts,
  registerPower,
  registerCapture,
  registerSweep,
  registerDecompose,
  registerExplain,
  registerAttribute,
  registerIntervene,
  registerCompare,
  registerMerge,
  registerSubmit,
  registerWorker,
  registerReport,
  registerExport,
  registerCite,
  registerBuild,
  registerDoctor,
  registerToy,
  registerDemo,
  registerPaper,
]) {
  register(program)
}
for (const command of program.commands) {
  makeStrict(command)
}

function makeStrict(command: Command): void {
  command.exitOverride().showHelpAfterError('(see --help)')
  nameTyposFirst(command)
  for (const inner of command.commands) {
    makeStrict(inner)
  }
}

/**
 * Methods that Commander calls when a required option is missing and when an option is unknown. Its types leave out
 * both.
 */
type Refusals = Command & {
  missingMandatoryOptionValue(option: Option): void
  unknownOption(flag: string): void
}

/** Reports a misspelt required option as unknown, with the nearest known option, instead of as missing. */
function nameTyposFirst(command: Command): void {
  const refusals = command as Refusals
  const refuseMissing = refusals.missingMandatoryOptionValue.bind(command)
  refusals.missingMandatoryOptionValue = (option) => {
    const typo = command.args.find((argument) => /^-./.test(argument))
    if (typo !== undefined) {
      refusals.unknownOption(typo)
    }
    refuseMissing(option)
  }
}

try {
  await program.parseAsync()
} catch (error) {
  process.exitCode = report(error)
}

/** Prints what went wrong to standard error and returns the exit status. */
function report(error: unknown): number {
  if (error instanceof CommanderError) {
    return error.exitCode === 0 ? 0 : EXIT.usage
  }
  if (error instanceof QkError) {
    process.stderr.write(`qkspace: ${error.message}\n`)
    if (error.hint) {
      process.stderr.write(`  ${error.hint}\n`)
    }
  } else {
    process.stderr.write(`qkspace: ${(error as Error)?.message ?? error}\n`)
  }
  if (process.env.QKSPACE_DEBUG) {
    process.stderr.write(`${(error as Error)?.stack}\n`)
  }
  return error instanceof QkError && error.code === 'ERR_USAGE' ? EXIT.usage : EXIT.failed
}
