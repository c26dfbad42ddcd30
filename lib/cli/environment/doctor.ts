/** `qkspace doctor`: what works on this machine, and why the rest does not. */

import type { Command } from 'commander'
import type { DeviceDescription } from '../../backend/backend.js'
import { backends } from '../../backend/select.js'
import { gibibytes } from '../../math/bytes.js'
import { versions } from '../../versions.js'
import { examples } from '../common/examples.js'
import { printJson, printLine, printTable } from '../common/output.js'

function printDevice(device: DeviceDescription): void {
  printLine()
  printTable(
    ['GPU', device.name],
    [
      ['uuid', device.uuid],
      ['memory', `${gibibytes(device.memory)}, ${gibibytes(device.memoryFree)} free`],
      ['used at most', gibibytes(device.memoryLimit)],
      ['driver', `for CUDA ${device.driver}`],
      ['runtime', `CUDA ${device.runtime}`],
    ],
  )
}

export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .description('say which backends work here, and why others do not')
    .option('--json', 'print one JSON document')
    .addHelpText('after', examples('qkspace doctor --json'))
    .action(({ json }: { json?: boolean }) => {
      const found = backends()
      const platform = `${process.platform}-${process.arch}`
      if (json) {
        printJson({ platform, versions: versions(), backends: found })
        return
      }
      printTable(
        ['backend', 'state', 'instruction set', 'threads'],
        found.map(({ name, available, description }) => [
          name,
          available ? 'ready' : 'not available',
          description?.instructionSet ?? '',
          description ? `${description.threads}` : '',
        ]),
      )
      for (const { name, reason, hint } of found) {
        if (reason) {
          printLine(`\n${name}: ${[reason, hint].filter(Boolean).join('\n')}`)
        }
      }
      for (const { description } of found) {
        if (description?.device) {
          printDevice(description.device)
        }
      }
      printLine()
      printTable(['component', 'version'], [['platform', platform], ...Object.entries(versions())])
    })
}
