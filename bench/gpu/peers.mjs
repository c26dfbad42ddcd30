/** Ceilings of the GPU and peers on it, from PyTorch where Python has it. */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** { torch, device, ceilings, peers } of the device of that UUID, or { absent: why }. */
export function measurePeers(sizes, { python, onCpu, uuid }) {
  const pythons = python ? [python] : ['python3', '/usr/bin/python3']
  const exe = pythons.find(
    (name) => spawnSync(name, ['-c', 'import torch'], { stdio: 'ignore' }).status === 0,
  )
  if (!exe) {
    return { absent: `no Python with PyTorch (tried ${pythons.join(', ')})` }
  }
  const script = fileURLToPath(new URL('peers.py', import.meta.url))
  const args = [script, JSON.stringify(sizes), ...(onCpu ? ['--cpu'] : [])]
  const { status, stdout, stderr } = spawnSync(exe, args, {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, CUDA_VISIBLE_DEVICES: uuid },
  })
  if (status !== 0) {
    return { absent: `PyTorch: ${stderr.trim().split('\n').at(-1)}` }
  }
  return JSON.parse(stdout)
}
