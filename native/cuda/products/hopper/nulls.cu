// Sign flips on Hopper: for every head and draw b
//
//   D_b [d, d] = sum_r s_br q_r k_r^T,   rows in f16 (null_products.h)
//
// A block makes a kSize x kSize tile of two draws. One warpgroup only brings rows: asynchronous copies of 16 bytes into a
// ring of stages. Each of two warpgroups multiplies them for a draw of its own: queries come from shared memory to
// registers, transposed, where a sign is one XOR for two numbers; keys stay in shared memory. So rows are read once for
// two draws, and no matrix of signs is ever multiplied.
//
// Precision: products of f16 are exact in f32, and sums are cut off: 3e-6 of the largest entries over 3,000 rows by
// measurement on an H100, in bf16. Operations: 2 d^2 a row and draw. At d = 128, 256 heads, 1,000 draws and 3,000 rows
// that is 25 Tflop, 31 ms at 796 Tflop/s; a prototype with this layout took 44 ms.
#include "cuda/products/hopper/nulls.h"

#include "cuda/products/async_copy.cuh"
#include "cuda/products/hopper/wgmma.cuh"
#include "cuda/products/layout.cuh"
#include "cuda/products/tensor_core.cuh"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/shared_memory.cuh"
#include "cuda/runtime/unroll.cuh"

namespace qkspace {
namespace {

constexpr int kDraws = 2;  // of a block
constexpr int kThreads = (1 + kDraws) * kWarpgroup;
constexpr int kConsumerWarps = 4 * kDraws;
constexpr int kRows = 64, kStages = 5, kFlying = 3;

template <int kSize>
struct Sizes {
  static constexpr int kPanels = kSize / 64, kPanelBytes = kRows * 128, kTileBytes = kPanels * kPanelBytes;
  static constexpr int kStageBytes = 2 * kTileBytes;
  static constexpr size_t kShared = 1024 + kStages * kStageBytes;
};

#if defined(QKS_HOPPER)

template <int kSize>
__device__ inline void bring(const HalfRows& rows, int32_t head, const TilePlace& place, char* stages, Barrier* full,
                             const Barrier* empty) {
  using S = Sizes<kSize>;
  constexpr int kPieces = kSize / 8, kRowsAtOnce = 32 / kPieces, kRowsAWarp = kRows / 4;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int piece = lane % kPieces, among = lane / kPieces;
  const int64_t first = static_cast<int64_t>(head) * rows.rows * rows.width;
  const bool queryThere = place.row + 8 * piece < rows.width, keyThere = place.column + 8 * piece < rows.width;
  const uint16_t* const queries = rows.q + first + (queryThere ? place.row + 8 * piece : 0);
  const uint16_t* const keys = rows.k + first + (keyThere ? place.column + 8 * piece : 0);
  const int32_t tiles = (rows.rows + kRows - 1) / kRows;
  for (int32_t tile = 0; tile < tiles; tile++) {
    const int stage = tile % kStages;
    if (tile >= kStages) {
      waitFor(&empty[stage], static_cast<uint32_t>(tile / kStages + 1) & 1);
    }
    char* const to = stages + stage * S::kStageBytes;
    QKS_UNROLL
    for (int i = 0; i < kRowsAWarp / kRowsAtOnce; i++) {
      const int inTile = warp * kRowsAWarp + kRowsAtOnce * i + among;
      const int32_t row = tile * kRows + inTile;
      const int64_t at = row < rows.rows ? static_cast<int64_t>(row) * rows.width : 0;
      const uint32_t place16 = panelPiece(kRows, inTile, piece);
      copyAsync(to + place16, queries + at, row < rows.rows && queryThere ? 16 : 0);
      copyAsync(to + S::kTileBytes + place16, keys + at, row < rows.rows && keyThere ? 16 : 0);
    }
    commitCopies();
    if (tile >= kFlying) {
      waitForCopies<kFlying>();
      fenceProxy();
      arrive(&full[(tile - kFlying) % kStages]);
    }
  }
  waitForCopies<0>();
  fenceProxy();
  for (int32_t tile = tiles > kFlying ? tiles - kFlying : 0; tile < tiles; tile++) {
    arrive(&full[tile % kStages]);
  }
}

// Signs of rows 2t, 2t + 1 and eight below, at the sign bits of two halves: bits of 16 rows.
struct SignMasks {
  uint32_t low, high;
  __device__ SignMasks(uint32_t bits, int t) {
    const uint32_t first = bits >> (2 * t), second = first >> 8;
    low = (first & 1) << 15 | (first & 2) << 30;
    high = (second & 1) << 15 | (second & 2) << 30;
  }
};

template <int kSize>
__device__ inline void multiply(const HalfRows& rows, const TilePlace& place, const uint32_t* signs, bool there,
                                const char* stages, const Barrier* full, Barrier* empty, float* out) {
  using S = Sizes<kSize>;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) % kWarpgroup / 32;
  const int t = lane % 4, matrix = lane / 8;
  float sum[S::kPanels][kSize / 2];
  QKS_UNROLL
  for (auto& panel : sum) {
    QKS_UNROLL
    for (float& x : panel) {
      x = 0;
    }
  }
  const int32_t tiles = (rows.rows + kRows - 1) / kRows;
  for (int32_t tile = 0; tile < tiles; tile++) {
    const int stage = tile % kStages;
    const uint32_t bits[2] = {signs[2 * tile], signs[2 * tile + 1]};
    waitFor(&full[stage], static_cast<uint32_t>(tile / kStages) & 1);
    const char* const queries = stages + stage * S::kStageBytes;
    const uint32_t keys = sharedAddress(queries + S::kTileBytes);
    uint32_t fragments[kRows / 16][S::kPanels][4];
    QKS_UNROLL
    for (int step = 0; step < kRows / 16; step++) {
      const SignMasks masks(bits[step / 2] >> (16 * (step % 2)), t);
      QKS_UNROLL
      for (int m = 0; m < S::kPanels; m++) {
        // 8 x 8 matrices: rows 0 and columns 0, columns 8, rows 8, both.
        const int row = step * 16 + matrix / 2 * 8 + lane % 8, piece = 8 * m + 2 * warp + matrix % 2;
        uint32_t(&fragment)[4] = fragments[step][m];
        loadTransposed(fragment, queries + panelPiece(kRows, row, piece));
        fragment[0] ^= masks.low;
        fragment[1] ^= masks.low;
        fragment[2] ^= masks.high;
        fragment[3] ^= masks.high;
      }
    }
    fenceProducts();
    QKS_UNROLL
    for (int step = 0; step < kRows / 16; step++) {
      const uint64_t keyOperand = panelOperand(keys + static_cast<uint32_t>(step) * 2048, S::kPanelBytes);
      QKS_UNROLL
      for (int m = 0; m < S::kPanels; m++) {
        multiplyAsync<false>(sum[m], fragments[step][m], keyOperand);
      }
    }
    commitProducts();
    waitForProducts<0>();
    if (lane == 0) {
      arrive(&empty[stage]);
    }
  }
  if (!there) {
    return;
  }
  const int32_t d = rows.d;
  QKS_UNROLL
  for (int m = 0; m < S::kPanels; m++) {
    QKS_UNROLL
    for (int j = 0; j < kSize / 8; j++) {
      QKS_UNROLL
      for (int e = 0; e < 4; e++) {
        const int row = place.row + 64 * m + 16 * warp + lane / 4 + 8 * (e / 2);
        const int column = place.column + 8 * j + 2 * t + e % 2;
        if (row < d && column < d) {
          out[static_cast<int64_t>(row) * d + column] = sum[m][4 * j + e];
        }
      }
    }
  }
}

#endif

// matrices [heads, draws, d, d]
template <int kSize>
__global__ void __launch_bounds__(kThreads, 1)
    nullsOnHopper(HalfRows rows, const uint32_t* signs, int32_t words, int32_t draws, float* matrices) {
#if defined(QKS_HOPPER)
  QKS_DYNAMIC_SHARED(shared);
  QKS_SHARED(Barrier[kStages], full);
  QKS_SHARED(Barrier[kStages], empty);
  char* const stages = alignedStages(shared);
  const int32_t head = static_cast<int32_t>(blockIdx.y);
  const TilePlace place = tilePlace(blockIdx.z, rows.d, kSize, kSize);
  initStages(full, empty, kConsumerWarps);
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup;
  if (warpgroup == 0) {
    takeFewerRegisters<40>();
    bring<kSize>(rows, head, place, stages, full, empty);
    return;
  }
  takeMoreRegisters<232>();
  const int32_t draw = static_cast<int32_t>(blockIdx.x) * kDraws + warpgroup - 1;
  const bool there = draw < draws;
  const int64_t d = rows.d;
  multiply<kSize>(rows, place, signs + static_cast<int64_t>(there ? draw : draws - 1) * words, there, stages, full,
                  empty, matrices + (static_cast<int64_t>(head) * draws + draw) * d * d);
#endif
}

template <int kSize>
void launchNulls(cudaStream_t stream, const HalfRows& rows, int32_t heads, const uint32_t* signs, int32_t draws,
                 float* matrices) {
  const dim3 grid(static_cast<uint32_t>((draws + kDraws - 1) / kDraws), static_cast<uint32_t>(heads),
                  tilesOf(rows.d, kSize, kSize));
  launch("summing sign flips", nullsOnHopper<kSize>, grid, dim3(kThreads), Sizes<kSize>::kShared, stream, rows, signs,
         signWords(rows.rows), draws, matrices);
}

}  // namespace

void sumNullsOnHopper(cudaStream_t stream, const HalfRows& rows, int32_t heads, const uint32_t* signs, int32_t draws,
                      float* matrices) {
  const auto run = tileColumns(rows.d) == 64 ? launchNulls<64> : launchNulls<128>;
  run(stream, rows, heads, signs, draws, matrices);
}

}  // namespace qkspace
