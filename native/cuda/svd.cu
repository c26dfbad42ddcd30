// Truncated singular value decompositions of a batch of matrices: scale, decompose, choose the rank, order, sign.
//
//   prepare    scales by a power of two so that the largest magnitude is in [1/2, 1), which is exact; lays out B (and
//              its transpose for panels); total energy; whether all entries are finite
//   panels     leading triplets, where few are asked for (svd_panel.cuh), in blocks of 16, 32, .. vectors
//   full       of what the panels left (svd_full.cuh)
//   finish     after the host has chosen the ranks by the same rule as the CPU's: order, completion of null vectors,
//              signs, and the vectors found, packed
//
// A block takes a matrix; batches of up to kBatch matrices between looks at `cancel`. No atomics: the same bits run
// after run, whatever the batches.
#include "common/svd_request.h"
#include "cuda/svd.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "common/status.h"
#include "cuda/svd_full.cuh"
#include "cuda/svd_panel.cuh"

namespace qkspace {
namespace {

constexpr int64_t kBatch = 512;
constexpr int kThreads = 256;

struct PreparedMatrix {
  double total;      // sum of squares, scaled
  int32_t exponent;  // entries have been multiplied by 2^-exponent
  int32_t finite;
};

template <typename In>
__global__ void __launch_bounds__(kThreads) prepareKernel(SvdShape shape, const In* matrices, In* out, In* transposed,
                                                          PreparedMatrix* prepared, double* totals) {
  const size_t i = blockIdx.x, count = static_cast<size_t>(shape.rows) * shape.cols;
  const In* from = matrices + i * count;
  double most = 0, bad = 0;
  for (size_t e = threadIdx.x; e < count; e += blockDim.x) {
    const double x = fabs(static_cast<double>(from[e]));
    if (!(x <= 1.7976931348623157e308)) bad = 1;
    most = x > most ? x : most;
  }
  bad = blockMost(bad);
  most = blockMost(most);
  int exponent = 0;
  if (most > 0 && bad == 0) frexp(most, &exponent);
  // In two factors: 2^-exponent alone may overflow.
  const double half = ldexp(1.0, -exponent / 2), rest = ldexp(1.0, -exponent - -exponent / 2);
  double total = 0;
  const int n = shape.n, m = shape.m, ldm = shape.ldm, ldn = shape.ldn;
  auto entry = [&](int j, int x) {
    const size_t at = shape.transposed ? static_cast<size_t>(x) * shape.cols + j : static_cast<size_t>(j) * shape.cols + x;
    return static_cast<double>(from[at]) * half * rest;
  };
  In* to = out + i * n * static_cast<size_t>(ldm);
  for (int e = threadIdx.x; e < n * ldm; e += blockDim.x) {
    const double x = e % ldm < m ? entry(e / ldm, e % ldm) : 0.0;
    to[e] = static_cast<In>(x);
    total += x * x;
  }
  In* toTransposed = transposed ? transposed + i * m * static_cast<size_t>(ldn) : nullptr;
  for (int e = threadIdx.x; transposed && e < m * ldn; e += blockDim.x)
    toTransposed[e] = e % ldn < n ? static_cast<In>(entry(e % ldn, e / ldn)) : static_cast<In>(0);
  total = blockSum(total);
  if (threadIdx.x == 0) {
    prepared[i] = PreparedMatrix{total, exponent, bad == 0};
    totals[i] = total;
  }
}

struct FinishTask {
  SvdShape shape;
  double* y;              // [.., n, ldm] rows s_j u_j
  const double* v;        // [.., n, ldn]
  const double* squares;  // [.., n]
  const int32_t* order;   // [.., n] the first `found` count
  const int32_t* found;   // [..]
  const int32_t* live;    // [..] how many of those have a singular value that is not rounding
  const int64_t* offsets; // [..] into out
  double* out;
  uint64_t seed;
};

// x becomes orthogonal to the first c of y's rows, in their order, and of length 1.
__device__ inline void completeVector(const FinishTask& t, double* y, const int32_t* order, int c, double* along) {
  const int m = t.shape.m, ldm = t.shape.ldm, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  double* x = y + static_cast<size_t>(order[c]) * ldm;
  for (int e = threadIdx.x; e < ldm; e += blockDim.x)
    x[e] = e < m ? randomAt(t.seed + static_cast<uint64_t>(c) * 0x632be59bd9b4e019ull, static_cast<uint64_t>(e)) : 0.0;
  __syncthreads();
  // The last vectors are found in what little the others leave of a random one: three passes.
  for (int pass = 0; pass < 3; pass++) {
    for (int k = warp; k < c; k += static_cast<int>(blockDim.x) / 32) {
      const double* other = y + static_cast<size_t>(order[k]) * ldm;
      double sum = 0;
      for (int e = lane; e < m; e += 32) sum += x[e] * other[e];
      sum = warpSum(sum);
      if (lane == 0) along[k] = sum;
    }
    __syncthreads();
    double square = 0;
    for (int e = threadIdx.x; e < m; e += blockDim.x) {
      double left = x[e];
      for (int k = 0; k < c; k++) left -= along[k] * y[static_cast<size_t>(order[k]) * ldm + e];
      x[e] = left;
      square += left * left;
    }
    const double inverse = 1 / sqrt(blockSum(square));
    for (int e = threadIdx.x; e < m; e += blockDim.x) x[e] *= inverse;
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kThreads) finishKernel(FinishTask t) {
  QKS_DYNAMIC_SHARED(shared);
  const size_t i = blockIdx.x;
  const int n = t.shape.n, m = t.shape.m, ldm = t.shape.ldm, ldn = t.shape.ldn;
  const int found = t.found[i], live = t.live[i], rows = t.shape.rows, cols = t.shape.cols;
  double* along = reinterpret_cast<double*>(shared);
  double* sign = along + n;
  double* y = t.y + i * n * static_cast<size_t>(ldm);
  const double* v = t.v + i * n * static_cast<size_t>(ldn);
  const int32_t* order = t.order + i * n;
  for (int c = 0; c < live; c++) {
    const double s = sqrt(t.squares[i * n + order[c]]);
    for (int e = threadIdx.x; e < m; e += blockDim.x) y[static_cast<size_t>(order[c]) * ldm + e] /= s;
  }
  __syncthreads();
  for (int c = live; c < found; c++) completeVector(t, y, order, c, along);

  const double *u = t.shape.transposed ? y : v, *w = t.shape.transposed ? v : y;
  const int ldu = t.shape.transposed ? ldm : ldn, ldw = t.shape.transposed ? ldn : ldm;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int c = warp; c < found; c += static_cast<int>(blockDim.x) / 32) {
    // The entry of largest magnitude of u is positive, the first such entry on a tie.
    const double* column = u + static_cast<size_t>(order[c]) * ldu;
    double most = -1, value = 0;
    int where = 0;
    for (int e = lane; e < rows; e += 32)
      if (fabs(column[e]) > most) {
        value = column[e];
        most = fabs(value);
        where = e;
      }
    for (int step = 16; step > 0; step /= 2) {
      const double otherMost = __shfl_xor_sync(0xffffffffu, most, step), otherValue = __shfl_xor_sync(0xffffffffu, value, step);
      const int otherWhere = __shfl_xor_sync(0xffffffffu, where, step);
      if (otherMost > most || (otherMost == most && otherWhere < where)) {
        most = otherMost;
        value = otherValue;
        where = otherWhere;
      }
    }
    if (lane == 0) sign[c] = value < 0 ? -1.0 : 1.0;
  }
  __syncthreads();
  double* out = t.out + t.offsets[i];
  for (int e = threadIdx.x; e < rows * found; e += blockDim.x)
    out[e] = sign[e % found] * u[static_cast<size_t>(order[e % found]) * ldu + e / found];
  out += static_cast<size_t>(rows) * found;
  for (int e = threadIdx.x; e < cols * found; e += blockDim.x)
    out[e] = sign[e % found] * w[static_cast<size_t>(order[e % found]) * ldw + e / found];
}

SvdShape shapeOf(int64_t rows, int64_t cols) {
  SvdShape s{};
  s.rows = static_cast<int>(rows);
  s.cols = static_cast<int>(cols);
  s.transposed = rows > cols;
  s.n = std::min(s.rows, s.cols);
  s.m = std::max(s.rows, s.cols);
  s.ldn = paddedLength(s.n);
  s.ldm = paddedLength(s.m);
  return s;
}

// What a batch has an entry, or n, a matrix of. The same layout on the device and in page-locked memory.
struct SmallArrays {
  PreparedMatrix* prepared;
  double *totals, *squares;  // squares: n
  int64_t* offsets;
  int32_t *found, *live, *list, *order;  // order: n
  uint8_t* settled;

  SmallArrays() = default;
  SmallArrays(char* at, size_t batch, size_t n)
      : prepared(reinterpret_cast<PreparedMatrix*>(at)),
        totals(reinterpret_cast<double*>(prepared + batch)),
        squares(totals + batch),
        offsets(reinterpret_cast<int64_t*>(squares + batch * n)),
        found(reinterpret_cast<int32_t*>(offsets + batch)),
        live(found + batch),
        list(live + batch),
        order(list + batch),
        settled(reinterpret_cast<uint8_t*>(order + batch * n)) {}

  static size_t bytes(size_t n) {
    return sizeof(PreparedMatrix) + (1 + n) * sizeof(double) + sizeof(int64_t) + (3 + n) * sizeof(int32_t) + 1;
  }
};

// Matrices of one call, batch after batch.
class Decomposer {
 public:
  Decomposer(Device& device, Transfer& transfer, SvdRoom& room, const qks_svd_request& request)
      : device_(device),
        transfer_(transfer),
        room_(room),
        request_(request),
        shape_(shapeOf(request.rows, request.cols)),
        rule_{request.mode, request.rank, request.max_rank, request.energy},
        element_(request.dtype == QKS_F32 ? sizeof(float) : sizeof(double)),
        size_(static_cast<size_t>(request.rows * request.cols)),
        sizeY_(static_cast<size_t>(shape_.n) * static_cast<size_t>(shape_.ldm)),
        sizeV_(static_cast<size_t>(shape_.n) * static_cast<size_t>(shape_.ldn)) {
    sharedLimit_ = device.properties.sharedMemPerBlockOptin - 3072;  // static arrays, alignment
    single_ = planJacobi(shape_, sizeof(float), sharedLimit_);
    wide_ = planJacobi(shape_, sizeof(double), sharedLimit_);
    direct_ = shape_.n <= kDirect;
    if (rule_.mode != QKS_SVD_FULL) widest_ = widestPanel(shape_.n);
    reserve();
  }
  // Nothing in the streams reads memory that goes.
  ~Decomposer() {
    cudaStreamSynchronize(device_.copies);
    cudaStreamSynchronize(device_.stream);
  }

  void run(const qks_cancel* cancel, qks_svd_summary& summary, CudaDecomposition& out) {
    stopIfCancelled(cancel);
    upload(0);
    for (int64_t first = 0; first < request_.n; first += batch_) {
      stopIfCancelled(cancel);
      if (request_.dtype == QKS_F32)
        runBatch<float>(first, cancel, summary, out);
      else
        runBatch<double>(first, cancel, summary, out);
    }
    land();
  }

 private:
  Device& device_;
  Transfer& transfer_;
  SvdRoom& room_;
  const qks_svd_request& request_;
  const SvdShape shape_;
  const RankRule rule_;
  const size_t element_, size_, sizeY_, sizeV_;
  Event uploaded_, packed_;
  size_t sharedLimit_;
  JacobiPlan single_, wide_;
  bool direct_;
  int widest_ = 0;
  int64_t batch_ = 1;
  int slots_ = 1;

  SmallArrays here_, there_;   // in page-locked memory, on the device
  std::vector<int32_t> list_;  // matrices of the batch that are left to do
  // Vectors of the batch before, which wait on the device.
  double* landing_ = nullptr;
  size_t landingCount_ = 0;

  int resident(int threads, size_t shared) const {
    const size_t byShared = (sharedLimit_ + 4096) / (shared + 1024), byThreads = static_cast<size_t>(1536 / threads);
    return static_cast<int>(std::max<size_t>(1, std::min<size_t>({byShared, byThreads, 16}))) *
           std::max(1, device_.properties.multiProcessorCount);
  }

  void reserve() {
    const size_t vectors = 2 * sizeof(double) * (sizeY_ + sizeV_);  // as worked on, and packed
    const size_t transposed = widest_ ? static_cast<size_t>(shape_.m) * static_cast<size_t>(shape_.ldn) * element_ : 0;
    const size_t n = static_cast<size_t>(shape_.n);
    const size_t each = 2 * size_ * element_ + sizeY_ * element_ + transposed + vectors + SmallArrays::bytes(n);
    const size_t available = std::min(device_.budget.limit, device_.budget.available() + room_.bytes());
    // Four matrices a multiprocessor keep it busy; more would wait longer for `cancel`.
    const int64_t enough = std::min<int64_t>(kBatch, 4 * std::max(1, device_.properties.multiProcessorCount));
    const size_t panel = widest_ ? planPanel(shape_, widest_, sharedLimit_).scratch : 0;
    const size_t slot = std::max(direct_ ? 0 : 2 * sizeV_ * sizeof(double), panel);
    slots_ = static_cast<int>(std::min<int64_t>(resident(kProductThreads, 0), std::min(enough, request_.n)));
    slots_ = std::max(1, slot ? static_cast<int>(std::min<size_t>(static_cast<size_t>(slots_), available / 4 / slot)) : slots_);
    const size_t left = available - std::min(available, static_cast<size_t>(slots_) * slot);
    batch_ = std::max<int64_t>(1, std::min<int64_t>({enough, request_.n, static_cast<int64_t>(left / 10 * 9 / each)}));

    const size_t b = static_cast<size_t>(batch_);
    const std::pair<DeviceBuffer*, size_t> wanted[] = {
        {&room_.scratch, static_cast<size_t>(slots_) * slot}, {&room_.raw[0], b * size_ * element_},
        {&room_.raw[1], b * size_ * element_},                {&room_.matrices, b * sizeY_ * element_},
        {&room_.transposed, b * transposed},                  {&room_.y, b * sizeY_ * sizeof(double)},
        {&room_.v, b * sizeV_ * sizeof(double)},              {&room_.small, b * SmallArrays::bytes(n) + 64}};
    // What earlier calls left may be of other proportions.
    size_t together = std::max(b * (sizeY_ + sizeV_) * sizeof(double), room_.packed.bytes());
    for (const auto& [buffer, bytes] : wanted) together += std::max(bytes, buffer->bytes());
    if (together > available) room_.release();
    for (const auto& [buffer, bytes] : wanted) buffer->reserve(bytes, "a batch of matrices");
    room_.answers.reserve(b * SmallArrays::bytes(n));
    there_ = SmallArrays(room_.small.get<char>(), b, n);
    here_ = SmallArrays(room_.answers.get<char>(), b, n);
  }

  int countOf(int64_t first) const { return static_cast<int>(std::min(batch_, request_.n - first)); }
  DeviceBuffer& rawOf(int64_t first) { return room_.raw[first / batch_ % 2]; }

  // Starts copying the batch at `first`, beside what device.stream does.
  void upload(int64_t first) {
    if (first >= request_.n) return;
    const char* from = static_cast<const char*>(request_.matrices) + static_cast<size_t>(first) * size_ * element_;
    transfer_.bytesBeside(from, static_cast<size_t>(countOf(first)) * size_ * element_, rawOf(first).get<char>());
    check(cudaEventRecord(uploaded_, device_.copies), "copying matrices to the GPU");
  }

  // From here_ and back.
  template <typename T>
  void toDevice(T* to, const T* from, size_t count) {
    check(cudaMemcpyAsync(to, from, count * sizeof(T), cudaMemcpyHostToDevice, device_.stream),
          "copying ranks to the GPU");
  }
  template <typename T>
  void toHost(T* to, const T* from, size_t count) {
    check(cudaMemcpyAsync(to, from, count * sizeof(T), cudaMemcpyDeviceToHost, device_.stream),
          "copying singular values from the GPU");
  }
  void sendList(const std::vector<int32_t>& list) {
    std::copy(list.begin(), list.end(), here_.list);
    toDevice(there_.list, here_.list, list.size());
  }

  // Brings the vectors of the batch before to the host, while the device works on this one.
  void land() {
    if (landing_) transfer_.fetch(room_.packed.get<double>(), landingCount_ * sizeof(double), landing_, packed_);
    landing_ = nullptr;
  }

  // A launch that counts as arithmetic.
  template <typename... Arguments>
  void timed(Arguments&&... arguments) {
    const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
    launch(std::forward<Arguments>(arguments)...);
  }

  template <typename M>
  void prepare(int64_t first, int count) {
    check(cudaStreamWaitEvent(device_.stream, uploaded_, 0), "waiting for matrices");
    timed("svd: prepare", prepareKernel<M>, dim3(static_cast<unsigned>(count)), dim3(kThreads), 0, device_.stream, shape_,
           static_cast<const M*>(rawOf(first).template get<M>()), room_.matrices.get<M>(),
           widest_ ? room_.transposed.get<M>() : nullptr, there_.prepared, there_.totals);
    toHost(here_.prepared, there_.prepared, static_cast<size_t>(count));
    device_.stream.finish("preparing matrices");
    for (int i = 0; i < count; i++)
      if (!here_.prepared[i].finite)
        fail(QKS_E_NON_FINITE, "matrix " + std::to_string(first + i) + " has an entry that is not finite");
  }

  // Leaves in list_ what they left.
  template <typename M>
  void panels(const qks_cancel* cancel, size_t count) {
    int width = 16;
    if (rule_.mode == QKS_SVD_RANK) {
      const int r = std::min(rule_.rank, shape_.n), wanted = r + std::max(4, r / 4);
      if (r == 0) return;
      width = (wanted + 15) / 16 * 16;
    }
    std::vector<int32_t> next = list_, hopeless;
    for (; width <= widest_ && !next.empty(); width *= 2) {
      stopIfCancelled(cancel);
      PanelTask<M> t{};
      t.shape = shape_;
      t.plan = planPanel(shape_, width, sharedLimit_);
      t.rule = rule_;
      t.seed = request_.seed * 0x2545f4914f6cdd1dull + 0x632be59bd9b4e019ull;
      t.matrices = room_.matrices.get<M>();
      t.transposed = room_.transposed.get<M>();
      t.totals = there_.totals;
      t.list = there_.list;
      t.count = static_cast<int>(next.size());
      t.y = room_.y.get<double>();
      t.v = room_.v.get<double>();
      t.squares = there_.squares;
      t.found = there_.found;
      t.scratch = room_.scratch.get<char>();
      sendList(next);
      const int blocks = std::min(t.plan.scratch ? slots_ : resident(kPanelThreads, t.plan.shared), t.count);
      timed("svd: panels", panelKernel<M>, dim3(static_cast<unsigned>(blocks)), dim3(kPanelThreads), t.plan.shared,
             device_.stream, t);
      toHost(here_.found, there_.found, count);
      land();
      device_.stream.finish("decomposing matrices");
      std::vector<int32_t> narrow;
      for (int32_t i : next) {
        const int32_t found = here_.found[i];
        if (found == kTooNarrow) narrow.push_back(i);
        if (found == kHopeless) hopeless.push_back(i);
      }
      next = narrow;
    }
    list_ = next;
    list_.insert(list_.end(), hopeless.begin(), hopeless.end());
    std::sort(list_.begin(), list_.end());
  }

  template <typename M>
  void fully() {
    FullTask<M> t{};
    t.shape = shape_;
    t.single = single_;
    t.wide = wide_;
    t.direct = direct_;
    t.matrices = room_.matrices.get<M>();
    t.totals = there_.totals;
    t.list = there_.list;
    t.count = static_cast<int>(list_.size());
    t.y = room_.y.get<double>();
    t.v = room_.v.get<double>();
    t.squares = there_.squares;
    t.settled = there_.settled;
    t.scratch = room_.scratch.get<double>();
    sendList(list_);
    if (!direct_) {
      jacobiLaunch("svd: f32", single_, t.count, singleKernel<M, 0>, singleKernel<M, 64>, singleKernel<M, 128>, t);
      timed("svd: refine", refineKernel<M>, dim3(static_cast<unsigned>(std::min(slots_, t.count))), dim3(kProductThreads),
             0, device_.stream, t);
    }
    jacobiLaunch("svd: f64", wide_, t.count, wideKernel<M, 0>, wideKernel<M, 64>, wideKernel<M, 128>, t);
  }

  // The kernel for rows of any length, of 64, or of 128 elements.
  template <typename Task>
  void jacobiLaunch(const char* name, const JacobiPlan& plan, int count, void (*any)(Task), void (*of64)(Task),
                    void (*of128)(Task), const Task& task) {
    const int blocks = std::min(resident(plan.threads, plan.shared), count);
    timed(name, shape_.ldm == 64 ? of64 : shape_.ldm == 128 ? of128 : any, dim3(static_cast<unsigned>(blocks)),
           dim3(static_cast<unsigned>(plan.threads)), plan.shared, device_.stream, task);
  }

  // Order, rank and error of matrix i of the batch, as the CPU chooses them.
  void choose(size_t i, bool full, int64_t global, qks_svd_summary& summary, CudaDecomposition& out) {
    const size_t n = static_cast<size_t>(shape_.n);
    const double eps = 2.220446049250313e-16, slack = 8 * eps * shape_.m;
    const PreparedMatrix& p = here_.prepared[i];
    const double *squares = here_.squares + i * n, least = leastSquare(shape_.n, p.total);
    int32_t* order = here_.order + i * n;
    for (size_t j = 0; j < n; j++) order[j] = static_cast<int32_t>(j);
    std::stable_sort(order, order + n, [&](int32_t a, int32_t b) { return squares[a] > squares[b]; });
    int32_t found = here_.found[i], live = 0;
    double error = 0, kept = 0;
    if (full) {
      found = shape_.n;
      if (rule_.mode == QKS_SVD_RANK) found = std::min(rule_.rank, shape_.n);
      if (rule_.mode == QKS_SVD_ENERGY) {
        double all = 0, sum = 0;
        for (size_t j = 0; j < n; j++) all += squares[order[j]];
        found = all == 0 ? 0 : shape_.n;
        for (int32_t j = 0; j < shape_.n && all > 0; j++) {
          sum += squares[order[j]];
          if (sum < rule_.energy * all) continue;
          found = j + 1;
          break;
        }
        if (rule_.maxRank > 0) found = std::min(found, rule_.maxRank);
      }
    }
    while (live < found && squares[order[live]] > least) live++;
    if (full) {
      double left = 0;
      for (int32_t j = shape_.n - 1; j >= live; j--) left += squares[order[j]];
      error = p.total > 0 ? std::sqrt(left / p.total) + slack : 0.0;
    } else {
      for (int32_t j = 0; j < found; j++) kept += squares[order[j]];
      // The difference of two sums that may agree in all digits; what they may hide is added.
      error = std::sqrt((p.total > kept ? (p.total - kept) / p.total : 0.0) + 64 * eps) + slack;
    }
    here_.found[i] = found;
    here_.live[i] = live;
    std::vector<double>& values = out.values[static_cast<size_t>(global)];
    values.resize(static_cast<size_t>(found));
    for (int32_t j = 0; j < found; j++)
      values[static_cast<size_t>(j)] = j < live ? std::ldexp(std::sqrt(squares[order[j]]), p.exponent) : 0.0;
    out.ranks[static_cast<size_t>(global)] = found;
    out.maxRank = std::max(out.maxRank, found);
    summary.ranks[global] = found;
    summary.total_energy[global] = std::ldexp(std::ldexp(p.total, p.exponent), p.exponent);
    summary.error_bound[global] = error;
    summary.converged[global] = full ? here_.settled[i] : 1;
  }

  void finish(int64_t first, size_t count, CudaDecomposition& out) {
    int64_t doubles = 0;
    for (size_t i = 0; i < count; i++) {
      here_.offsets[i] = doubles;
      doubles += here_.found[i] * (request_.rows + request_.cols);
    }
    out.batches.emplace_back(static_cast<size_t>(doubles));
    std::vector<double>& to = out.batches.back();
    for (size_t i = 0; i < count; i++) out.vectors[static_cast<size_t>(first) + i] = to.data() + here_.offsets[i];
    land();
    if (doubles == 0) return;
    room_.packed.reserve(static_cast<size_t>(doubles) * sizeof(double), "singular vectors of a batch");
    toDevice(there_.found, here_.found, count);
    toDevice(there_.live, here_.live, count);
    toDevice(there_.offsets, here_.offsets, count);
    toDevice(there_.order, here_.order, count * static_cast<size_t>(shape_.n));
    FinishTask t{};
    t.shape = shape_;
    t.y = room_.y.get<double>();
    t.v = room_.v.get<double>();
    t.squares = there_.squares;
    t.order = there_.order;
    t.found = there_.found;
    t.live = there_.live;
    t.offsets = there_.offsets;
    t.out = room_.packed.get<double>();
    t.seed = 0x2545f4914f6cdd1dull;
    timed("svd: finish", finishKernel, dim3(static_cast<unsigned>(count)), dim3(kThreads),
           2 * static_cast<size_t>(shape_.n) * sizeof(double) + 128, device_.stream, t);
    check(cudaEventRecord(packed_, device_.stream), "recording an event");
    landing_ = to.data();
    landingCount_ = static_cast<size_t>(doubles);
  }

  template <typename M>
  void runBatch(int64_t first, const qks_cancel* cancel, qks_svd_summary& summary, CudaDecomposition& out) {
    const int count = countOf(first);
    prepare<M>(first, count);
    list_.resize(static_cast<size_t>(count));
    for (int i = 0; i < count; i++) list_[static_cast<size_t>(i)] = i;
    if (widest_) panels<M>(cancel, list_.size());
    std::vector<uint8_t> full(static_cast<size_t>(count), 0);
    for (int32_t i : list_) full[static_cast<size_t>(i)] = 1;
    stopIfCancelled(cancel);
    if (!list_.empty()) fully<M>();
    upload(first + batch_);
    land();
    toHost(here_.squares, there_.squares, static_cast<size_t>(count) * static_cast<size_t>(shape_.n));
    toHost(here_.settled, there_.settled, static_cast<size_t>(count));
    device_.stream.finish("decomposing matrices");
    for (int i = 0; i < count; i++) choose(static_cast<size_t>(i), full[static_cast<size_t>(i)], first + i, summary, out);
    finish(first, static_cast<size_t>(count), out);
  }
};

}  // namespace

size_t SvdRoom::bytes() const {
  size_t bytes = 0;
  for (const DeviceBuffer* buffer : {&raw[0], &raw[1], &matrices, &transposed, &y, &v, &small, &packed, &scratch})
    bytes += buffer->bytes();
  return bytes;
}

void SvdRoom::release() {
  for (DeviceBuffer* buffer : {&raw[0], &raw[1], &matrices, &transposed, &y, &v, &small, &packed, &scratch})
    buffer->release();
}

void decompose(Device& device, Transfer& transfer, SvdRoom& room, const qks_svd_request& request,
               const qks_cancel* cancel, qks_svd_summary& summary, CudaDecomposition& out) {
  checkSvdRequest(request);
  out.n = request.n;
  out.rows = request.rows;
  out.cols = request.cols;
  out.maxRank = 0;
  const size_t n = static_cast<size_t>(request.n);
  out.ranks.assign(n, 0);
  out.values.assign(n, {});
  out.vectors.assign(n, nullptr);
  out.batches.clear();
  if (request.n == 0) {
    summary.max_rank = 0;
    return;
  }
  const Kept::Use use(room);
  Decomposer(device, transfer, room, request).run(cancel, summary, out);
  summary.max_rank = out.maxRank;
}

void readDecomposition(const CudaDecomposition& from, double* u, double* s, double* v) {
  const size_t width = static_cast<size_t>(from.maxRank), rows = static_cast<size_t>(from.rows);
  const size_t cols = static_cast<size_t>(from.cols);
  for (size_t i = 0; i < static_cast<size_t>(from.n); i++) {
    const size_t rank = static_cast<size_t>(from.ranks[i]);
    const double* vectors = from.vectors[i];
    auto spread = [&](const double* source, size_t count, double* to) {
      if (rank == width) {
        std::copy_n(source, count * width, to);
        return;
      }
      for (size_t a = 0; a < count; a++, to += width) {
        std::copy_n(source + a * rank, rank, to);
        std::fill_n(to + rank, width - rank, 0.0);
      }
    };
    spread(vectors, rows, u + i * rows * width);
    spread(from.values[i].data(), 1, s + i * width);
    spread(vectors + rank * rows, cols, v + i * cols * width);
  }
}

}  // namespace qkspace
