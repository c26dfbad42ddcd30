/** The packages a platform: what each holds, and how it is compiled. Their manifests lie in npm/. */

/** The oldest glibc that Node 20 runs with. */
export const GLIBC_FLOOR = '2.28'

export const PLATFORMS = [
  { name: 'linux-x64', file: 'qkspace.node', tools: '', mostBytes: 2e6 },
  {
    name: 'linux-arm64',
    file: 'qkspace.node',
    // A cross-compiler; Debian: apt-get install g++-aarch64-linux-gnu
    tools: 'aarch64-linux-gnu-',
    processor: 'aarch64',
    mostBytes: 2e6,
  },
  { name: 'linux-x64-cuda', file: 'qkspace_cuda.so', tools: '', cuda: true, mostBytes: 60e6 },
]
