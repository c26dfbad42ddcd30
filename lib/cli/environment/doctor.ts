/** `qkspace doctor`: what works on this machine, and why the rest does not. */

import type { Command } from 'commander'
import type { DeviceDescription } from '../../backend/backend.js'
import { backends, cudaDevices } from '../../backend/select.js'
import { gibibytes } from '../../math/bytes.js'
import { versions } from '../../versions.js'
import { examples } from '../common/examples.js'
import { printJson, printLine, printTable } from '../common/output.js'
import { autoRule, autoRuleText } from './auto-rule.js'

function printDevice(device: DeviceDescription, choice: string): void {
  printLine()
  printTable(
    ['GPU', `${device.name} (${choice})`],
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
      const devices = cudaDevices()
      const platform = `${process.platform}-${process.arch}`
      if (json) {
        printJson({ platform, versions: versions(), backends: found, devices, auto: autoRule() })
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
      printLine(`\n${autoRuleText(autoRule(), devices.length > 0)}`)
      for (const { name, reason, hint } of found) {
        if (reason) {
          printLine(`\n${name}: ${[reason, hint].filter(Boolean).join('\n')}`)
        }
      }
      for (const [i, device] of devices.entries()) {
        printDevice(device, i === 0 ? 'cuda' : `cuda:${i}`)
      }
      if (devices.length > 1) {
        printLine(`\ncuda:${[...devices.keys()].join(',')} divides the heads among all of them`)
      }
      printLine()
      printTable(['component', 'version'], [['platform', platform], ...Object.entries(versions())])
    })
}
