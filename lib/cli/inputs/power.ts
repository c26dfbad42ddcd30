/**
 * `qkspace power`: the probability that a number of prompts shows an effect, and the number of prompts for a given
 * power.
 */

import type { Command } from 'commander'
import { QkError } from '../../errors.js'
import { type EffectOptions, powerOf, unitsFor } from '../../spectrum/rank/power/power-of.js'
import { examples } from '../common/examples.js'
import { parseNumber, parseWhole } from '../common/options.js'
import { fixed, printJson, printLine } from '../common/output.js'

interface Options extends EffectOptions {
  units?: number
  power?: number
  json?: boolean
}

export function registerPower(program: Command): void {
  program
    .command('power')
    .description('say how many prompts the test of rank needs, from simulations that come with the package')
    .requiredOption(
      '--strength <r>',
      'correlation, along the effect, of the query with the difference of a positive and a negative key',
      parseNumber,
    )
    .requiredOption('--head-dim <d>', 'dimension of a head', parseWhole(1))
    .option('--units <n>', 'units, as a rule prompts: print the power that they have', parseWhole(1))
    .option('--power <p>', 'print the units that have this power (default: 0.8)', parseNumber)
    .option('--heads <m>', 'heads and contrasts tested together', parseWhole(1), 1)
    .option('--effects <r>', 'how many of them have an effect', parseWhole(1), 1)
    .option('--json', 'print one JSON document')
    .addHelpText('after', examples('qkspace power --strength 0.3 --head-dim 64 --units 200'))
    .action(run)
}

function run(options: Options): void {
  const { units, power, json, strength, headDim, heads, effects } = options
  if (units !== undefined && power !== undefined) {
    throw new QkError('ERR_USAGE', 'give --units or --power, not both', {
      hint: '--units prints the power that they have; --power prints the units that it takes.',
    })
  }
  const effect = { strength, headDim, heads, effects }
  if (units === undefined) {
    const wanted = power ?? 0.8
    const answer = unitsFor({ ...effect, power: wanted })
    if (json) {
      printJson({ ...effect, power: wanted, ...answer })
    } else {
      printLine(`${answer.atMost ? 'at most ' : ''}${answer.units} units have a power of ${wanted}`)
    }
    if (!json) {
      explain(options, answer.level)
    }
    return
  }
  const answer = powerOf({ ...effect, units })
  if (json) {
    printJson({ ...effect, units, ...answer })
  } else {
    printLine(`${units} units have a power of ${answer.atLeast ? 'at least ' : ''}${fixed(answer.power, 2)}`)
  }
  if (!json) {
    explain(options, answer.level)
  }
}

function explain({ strength, headDim, heads, effects }: Options, level: number): void {
  printLine(
    `to find an effect of one direction with a correlation of ${strength}, at d = ${headDim}, one term a unit,`,
  )
  if (heads === 1) {
    printLine(`with the test of effect at ${level}.`)
  } else {
    printLine(
      `where ${effects} of ${heads} heads have one, so that each is tested at about 0.05 · ${effects} / ${heads} = ${Number(level.toPrecision(3))}.`,
    )
  }
  printLine('Simulated in Gaussian noise of equal variance in all dimensions; interpolated.')
}
