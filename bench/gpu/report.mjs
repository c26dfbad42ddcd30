/** The lines that bench:gpu prints. */

const print = (line) => process.stdout.write(`${line}\n`)
const milliseconds = (ms) => `${ms.toPrecision(3)} ms`
const spread = ({ median, min, max }) =>
  `${milliseconds(median)} (${min.toPrecision(3)} to ${max.toPrecision(3)})`
const gigabytes = (bytesPerSecond) => `${(bytesPerSecond / 1e9).toPrecision(3)} GB/s`
const teraflops = (operationsPerSecond) => `${(operationsPerSecond / 1e12).toPrecision(3)} Tflop/s`

function ratesText({ bytesPerSecond, operationsPerSecond, matricesPerSecond }) {
  const texts = [
    bytesPerSecond && gigabytes(bytesPerSecond),
    operationsPerSecond && teraflops(operationsPerSecond),
    matricesPerSecond && `${matricesPerSecond.toPrecision(3)} matrices/s`,
  ]
  return texts.filter(Boolean).join(', ')
}

export function printCeilings({ device, clocks, pytorch }) {
  print(`${device.name}, ${device.uuid}, CUDA ${device.runtime}, driver for CUDA ${device.driver}`)
  const now = clocks.start
  print(
    now
      ? `clocks: SM ${now.smMHz} of ${now.maxSmMHz} MHz, memory ${now.memoryMHz} of ${now.maxMemoryMHz} MHz`
      : 'clocks: absent (no nvidia-smi)',
  )
  if (pytorch.absent) {
    print(`ceilings and peers: absent (${pytorch.absent})`)
    return
  }
  print(`ceilings, by PyTorch ${pytorch.torch} on ${pytorch.device}:`)
  for (const [name, found] of Object.entries(pytorch.ceilings)) {
    const rate = found.bytesPerSecond
      ? gigabytes(found.bytesPerSecond)
      : found.operationsPerSecond
        ? teraflops(found.operationsPerSecond)
        : `absent (${found.failed})`
    print(`  ${name.padEnd(8)}${rate}`)
  }
  print('peers:')
  for (const [name, { medianMs, note, failed }] of Object.entries(pytorch.peers)) {
    print(
      `  ${name.padEnd(28)}${failed ? `absent (${failed})` : milliseconds(medianMs)}${note ? `, ${note}` : ''}`,
    )
  }
}

export function printFigures(figures) {
  const { label, failed, error, allowed, work, deviceMs, callMs, restMs, copyMs, floor, bars } = figures
  print(`  ${label}`)
  if (failed) {
    print(`    failed: ${failed}`)
    return
  }
  print(`    error   ${error.toPrecision(2)}, allowed ${allowed}`)
  if (work.bytes) {
    print(`    input   ${(work.bytes / 1e9).toPrecision(3)} GB`)
  }
  print(`    device  ${spread(deviceMs)}; ${ratesText(figures.deviceRates)}`)
  print(`    call    ${spread(callMs)}; ${ratesText(figures.callRates)}`)
  print(`    rest    ${spread(restMs)}: the call less the device`)
  print(`    copies  ${milliseconds(copyMs.median)} to the device, in a call`)
  if (floor) {
    const found = floor.absent
      ? `absent (${floor.absent})`
      : `${milliseconds(floor.ms)}, bound by ${floor.boundBy}`
    print(`    floor   ${found}`)
  }
  for (const { what, wanted, value, most, met, absent } of bars) {
    const asked = wanted === null ? '' : ` (bar: ${most ? 'at most' : 'at least'} ${wanted})`
    const verdict = met === null ? '' : met ? ': met' : ': NOT MET'
    print(`    bar     ${absent ? `absent (${absent}):` : value.toPrecision(3)} ${what}${asked}${verdict}`)
  }
}
