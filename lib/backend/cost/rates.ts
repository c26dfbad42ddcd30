/**
 * What 'auto' reckons with: times of both kinds of hardware, each from a measurement that it names. A newer measurement
 * changes them here and nowhere else. All in seconds, bytes and operations; CPU times are those of one core.
 */

export interface CpuRates {
  /** Seconds of one term and head, by head dimension; between and beyond these by powers of the dimension. */
  term: readonly (readonly [headDim: number, seconds: number])[]
  /** Bytes a second of keys beyond two a term, on the whole machine. */
  keyBytes: number
  /** Seconds of a 128 x 128 matrix, decomposed in full and to a low rank. */
  svd: { full: number; truncated: number }
  /** Operations a second of the null draws, counted as 2 d^2 a row and draw. */
  flips: number
}

export interface GpuRates {
  /** Context and library, once a process. */
  start: number
  /** One call of `add`, besides what depends on its size. */
  add: number
  /** One key of a term on the host, which plans and sends its index. */
  key: number
  /** Seconds of one term and head at d = 128, by dtype. */
  term: { f32: number; f16: number; bf16: number }
  /** Below this, d costs as much as this. */
  leastHeadDim: number
  /** Bytes a second of rows from host memory, end to end. */
  hostBytes: { f32: number; f16: number; bf16: number }
  /** Seconds of a 128 x 128 matrix, from call to answer. */
  svd: { full: number; truncated: number }
  /** Operations a second of the null draws. */
  flips: number
}

export interface Rates {
  cpu: CpuRates
  gpu: GpuRates
  /** A GPU is taken where it is at least this many times as fast: the machine is not the one that was measured. */
  margin: number
}

/** Cores of the machine of the CPU figures. */
const CORES = 2

export const MEASURED: Rates = {
  // bench/results/2026-11-24-amd-epyc.json, AVX-512, 2 cores.
  cpu: {
    term: [
      // 'pairs', '2000 pairs, 1024 heads, d 16, f32'
      [16, (CORES * 79.5e-3) / (2000 * 1024)],
      // '20000 pairs, 32 heads, d 64, f32'
      [64, (CORES * 74.5e-3) / (20_000 * 32)],
      // '200000 pairs, 1 heads, d 128, f32'
      [128, (CORES * 109.3e-3) / 200_000],
      // '50000 pairs, 1 heads, d 256, f32'
      [256, (CORES * 63.7e-3) / 50_000],
    ],
    // 'category', '2000 prompts, 8 heads, 25 items, d 128, f32'
    keyBytes: 212_992_000 / 15.96e-3,
    // 'svd', '1024 matrices of 128 x 128, low rank', in full and rank 9
    svd: { full: (CORES * 751.9e-3) / 1024, truncated: (CORES * 64.1e-3) / 1024 },
    // docs/performance.md: 64 heads, d = 64, 3,000 units, 999 draws in 7.1 s
    flips: (2 * 64 * 64 * 64 * 3000 * 999) / 7.1 / CORES,
  },
  // bench/results/2026-11-26T1046-nvidia-h100-80gb-hbm3.json, the first kernels; medians of the call, or of the device.
  gpu: {
    // Not in the file: about what a context takes on a machine with one GPU.
    start: 0.3,
    // Not measured: an allowance for the launches and waits of a batch.
    add: 1e-3,
    // 'category': 16,384 queries against 25 items took 17.3 ms, of which the device 4.84
    key: (17.3e-3 - 4.84e-3) / (16_384 * 25),
    // 'resident-pairs', device, 2^20 rows and 32 heads
    term: {
      f32: 113.2e-3 / (2 ** 20 * 32),
      f16: 19.6e-3 / (2 ** 20 * 32),
      bf16: 19.6e-3 / (2 ** 20 * 32),
    },
    leastHeadDim: 64,
    // 'from-host', 131,072 rows
    hostBytes: {
      f32: (131_072 * 48 * 128 * 4) / 113.5e-3,
      f16: (131_072 * 48 * 128 * 2) / 78.5e-3,
      bf16: (131_072 * 48 * 128 * 2) / 75.3e-3,
    },
    // 'svd', 4,096 matrices, in full and to 99% of the energy at rank 9
    svd: { full: 916.6e-3 / 4096, truncated: 76.8e-3 / 4096 },
    // 'sign-flip-nulls' has no figure in the file. In a profile of that day 64 heads, 101 draws and 3,000 rows took 85 ms.
    flips: (2 * 64 * 101 * 3000 * 128 ** 2) / 85e-3,
  },
  margin: 2,
}
