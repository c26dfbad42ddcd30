// What the kernels for sign flips work on, and the definition. All but the definition is bound by bytes.
#include "cuda/products/null_products.h"

#include <cmath>
#include <cstring>

#include "cuda/products/hopper/nulls.h"
#include "cuda/products/mma/nulls.h"
#include "cuda/runtime/float16.cuh"
#include "cuda/runtime/launch.cuh"

namespace qkspace {
namespace {

constexpr int kThreads = 256;
constexpr int kHalfExponent = 14;  // of the largest magnitude, so that it stays below half of f16's largest number
constexpr int64_t kMostBlocks = 4096;

uint32_t blocksFor(int64_t count) {
  const int64_t blocks = (count + kThreads - 1) / kThreads;
  return static_cast<uint32_t>(blocks < 1 ? 1 : blocks > kMostBlocks ? kMostBlocks : blocks);
}

__global__ void __launch_bounds__(kThreads) halfRowsKernel(NullRows from, NullHeads heads, HalfRows to) {
  const int32_t i = static_cast<int32_t>(blockIdx.y), head = heads.heads[i], keyHead = head / from.group;
  const int64_t count = static_cast<int64_t>(to.rows) * to.width, step = static_cast<int64_t>(gridDim.x) * kThreads;
  const double queryScale = ldexp(1.0, -heads.queryExponent[i]), keyScale = ldexp(1.0, -heads.keyExponent[i]);
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; at < count; at += step) {
    const int64_t row = at / to.width, column = at % to.width;
    double q = 0, k = 0;
    if (column < to.d) {
      q = static_cast<double>(loadElement(from.q, rowOffset(from.q, row, head) + column)) * queryScale;
      k = static_cast<double>(from.coefficients[row]) *
          static_cast<double>(loadElement(from.k, rowOffset(from.k, row, keyHead) + column)) * keyScale;
    }
    to.q[i * count + at] = floatToF16(static_cast<float>(q));
    to.k[i * count + at] = floatToF16(static_cast<float>(k));
  }
}

// A word of 32 rows a thread; neighbours have neighbouring draws, whose flips are in the same words.
__global__ void __launch_bounds__(kThreads)
    signsKernel(const uint32_t* flips, int32_t flipWords, const int32_t* unit, int32_t rows, int64_t first,
                int32_t draws, int32_t words, uint32_t* out) {
  const int64_t count = static_cast<int64_t>(draws) * words, step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; at < count; at += step) {
    const int32_t draw = static_cast<int32_t>(at % draws), word = static_cast<int32_t>(at / draws);
    const int64_t flip = first + draw;
    uint32_t bits = 0;
    for (int32_t r = 32 * word; r < 32 * word + 32 && r < rows; r++) {
      bits |= (flips[static_cast<int64_t>(unit[r]) * flipWords + flip / 32] >> (flip % 32) & 1u) << (r % 32);
    }
    out[static_cast<int64_t>(draw) * words + word] = bits;
  }
}

__global__ void nullsExactly(NullRows from, NullHeads heads, int32_t rows, const uint32_t* signs, int32_t words,
                             float* matrices) {
  const int32_t d = from.q.d, draw = static_cast<int32_t>(blockIdx.y), i = static_cast<int32_t>(blockIdx.z);
  const int32_t head = heads.heads[i], keyHead = head / from.group;
  const int64_t entry = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (entry >= static_cast<int64_t>(d) * d) {
    return;
  }
  double sum = 0;
  for (int32_t r = 0; r < rows; r++) {
    const double product = static_cast<double>(from.coefficients[r]) *
                           static_cast<double>(loadElement(from.q, rowOffset(from.q, r, head) + entry / d)) *
                           static_cast<double>(loadElement(from.k, rowOffset(from.k, r, keyHead) + entry % d));
    sum += signs[static_cast<int64_t>(draw) * words + r / 32] >> (r % 32) & 1u ? -product : product;
  }
  const int exponent = -heads.queryExponent[i] - heads.keyExponent[i];
  matrices[(static_cast<int64_t>(i) * gridDim.y + draw) * d * d + entry] = static_cast<float>(ldexp(sum, exponent));
}

}  // namespace

int32_t halfExponent(uint32_t largest, float by) {
  float most = 0;
  std::memcpy(&most, &largest, sizeof most);
  int exponent = kHalfExponent;
  if (most > 0 && by != 0) {
    std::frexp(static_cast<double>(most) * static_cast<double>(by), &exponent);
  }
  return exponent - kHalfExponent;
}

void makeHalfRows(cudaStream_t stream, const NullRows& from, const NullHeads& heads, const HalfRows& to) {
  const dim3 grid(blocksFor(static_cast<int64_t>(to.rows) * to.width), static_cast<uint32_t>(heads.count));
  launch("rounding rows to f16", halfRowsKernel, grid, dim3(kThreads), 0, stream, from, heads, to);
}

void spreadSigns(cudaStream_t stream, const uint32_t* flips, int32_t flipWords, const int32_t* unit, int32_t rows,
                 int64_t first, int32_t draws, uint32_t* out) {
  const int32_t words = signWords(rows);
  launch("signs of rows", signsKernel, dim3(blocksFor(static_cast<int64_t>(draws) * words)), dim3(kThreads), 0, stream,
         flips, flipWords, unit, rows, first, draws, words, out);
}

void sumNulls(cudaStream_t stream, const Device& device, const HalfRows& rows, int32_t heads, const uint32_t* signs,
              int32_t draws, float* matrices) {
  const auto run = device.hopper ? sumNullsOnHopper : sumNullsOnTensorCores;
  run(stream, rows, heads, signs, draws, matrices);
}

void sumNullsExactly(cudaStream_t stream, const NullRows& from, const NullHeads& heads, int32_t rows,
                     const uint32_t* signs, int32_t draws, float* matrices) {
  const dim3 grid(static_cast<uint32_t>((from.q.d * from.q.d + 127) / 128), static_cast<uint32_t>(draws),
                  static_cast<uint32_t>(heads.count));
  launch("sign flips in f64", nullsExactly, grid, dim3(128), 0, stream, from, heads, rows, signs, signWords(rows),
         matrices);
}

}  // namespace qkspace
