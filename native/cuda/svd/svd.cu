// Truncated singular value decompositions of a batch of matrices: scale, decompose, choose the rank, order, sign.
//
//   prepare    scaling by a power of two, layout, energy (kernels/prepare.cuh)
//   panels     leading triplets, where few are asked for, in blocks of 16, 32, .. vectors (kernels/panel.cuh)
//   full       of what the panels left (kernels/full.cuh)
//   choose     on the host, the ranks by the same rule as the CPU's (choose_rank.h)
//   finish     order, completion of null vectors, signs, packing (kernels/finish.cuh)
//
// A block takes a matrix; a batch of them between looks at `cancel`. No atomics: the same bits run
// after run, whatever the batches.
#include "cuda/svd/svd.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "common/status.h"
#include "common/svd_request.h"
#include "cuda/runtime/check.h"
#include "cuda/runtime/launch.cuh"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/stopwatch.h"
#include "cuda/runtime/stream.h"
#include "cuda/svd/batch_arrays.cuh"
#include "cuda/svd/batch_plan.h"
#include "cuda/svd/choose_rank.h"
#include "cuda/svd/full_launches.cuh"
#include "cuda/svd/kernels/finish.cuh"
#include "cuda/svd/kernels/panel.cuh"
#include "cuda/svd/kernels/prepare.cuh"
#include "cuda/svd/kernels/spread.cuh"

namespace qkspace {
namespace {

// Matrices of one call, batch after batch.
class Decomposer {
 public:
  Decomposer(Device& device, Transfer& transfer, SvdWorkspace& workspace, const qks_svd_request& request,
             const qks_svd_vectors* vectors)
      : device_(device),
        transfer_(transfer),
        workspace_(workspace),
        request_(request),
        vectors_(vectors),
        outElement_(request.out_dtype == QKS_F32 ? sizeof(float) : sizeof(double)),
        rule_{request.mode, request.rank, request.max_rank, request.energy},
        plan_(planBatches(device, workspace, request)),
        shape_(plan_.shape) {
    reserveBatch(device, plan_, workspace);
    const size_t batch = static_cast<size_t>(plan_.batch), n = static_cast<size_t>(shape_.n);
    there_ = BatchArrays(workspace.small.get<char>(), batch, n);
    here_ = BatchArrays(workspace.answers.get<char>(), batch, n);
  }
  // Nothing in the streams reads memory that goes.
  ~Decomposer() {
    cudaStreamSynchronize(device_.copies);
    cudaStreamSynchronize(device_.stream);
  }

  void run(const qks_cancel* cancel, qks_svd_summary& summary, CudaDecomposition& out) {
    stopIfCancelled(cancel);
    upload(0);
    for (int64_t first = 0; first < request_.n; first += plan_.batch) {
      stopIfCancelled(cancel);
      if (request_.dtype == QKS_F32) {
        runBatch<float>(first, cancel, summary, out);
      } else {
        runBatch<double>(first, cancel, summary, out);
      }
    }
    land();
  }

 private:
  Device& device_;
  Transfer& transfer_;
  SvdWorkspace& workspace_;
  const qks_svd_request& request_;
  const qks_svd_vectors* const vectors_;
  const size_t outElement_;
  const RankRule rule_;
  const BatchPlan plan_;
  const SvdShape& shape_;
  Event uploaded_, packed_;

  BatchArrays here_, there_;   // in page-locked memory, on the device
  std::vector<int32_t> list_;  // matrices of the batch that are left to do
  // Vectors of the batch before, which wait on the device: u from its beginning on, v behind.
  struct Landing {
    char *u = nullptr, *v = nullptr;
    size_t bytesU = 0, bytesV = 0;
  };
  Landing landing_;

  int countOf(int64_t first) const { return static_cast<int>(std::min(plan_.batch, request_.n - first)); }
  DeviceBuffer& rawOf(int64_t first) { return workspace_.raw[first / plan_.batch % 2]; }

  // Starts copying the batch at `first`, beside what device.stream does.
  void upload(int64_t first) {
    if (first >= request_.n) {
      return;
    }
    const char* from =
        static_cast<const char*>(request_.matrices) + static_cast<size_t>(first) * plan_.size * plan_.element;
    transfer_.bytesBeside(from, static_cast<size_t>(countOf(first)) * plan_.size * plan_.element,
                          rawOf(first).get<char>());
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

  // The matrices of `list`, and where their triplets go.
  template <typename M>
  void fill(MatrixTask<M>& t, const std::vector<int32_t>& list) {
    t.shape = shape_;
    t.matrices = workspace_.matrices.get<M>();
    t.totals = there_.totals;
    t.list = there_.list;
    t.count = static_cast<int>(list.size());
    t.y = workspace_.y.get<double>();
    t.v = workspace_.v.get<double>();
    t.squares = there_.squares;
    std::copy(list.begin(), list.end(), here_.list);
    toDevice(there_.list, here_.list, list.size());
  }

  // Brings the vectors of the batch before to the host, while the device works on this one.
  void land() {
    if (landing_.bytesU + landing_.bytesV > 0) {
      const char* packed = workspace_.packed.get<char>();
      transfer_.fetch(packed, landing_.bytesU, landing_.u, packed_);
      transfer_.fetch(packed + landing_.bytesU, landing_.bytesV, landing_.v, packed_);
    }
    landing_ = Landing{};
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
    timed("svd: prepare", prepareKernel<M>, dim3(static_cast<unsigned>(count)), dim3(kPrepareThreads), 0,
          device_.stream, shape_, static_cast<const M*>(rawOf(first).template get<M>()), workspace_.matrices.get<M>(),
          plan_.widest ? workspace_.transposed.get<M>() : nullptr, there_.prepared, there_.totals);
    toHost(here_.prepared, there_.prepared, static_cast<size_t>(count));
    device_.stream.finish("preparing matrices");
    for (int i = 0; i < count; i++) {
      if (!here_.prepared[i].finite) {
        fail(QKS_E_NON_FINITE, "matrix " + std::to_string(first + i) + " has an entry that is not finite");
      }
    }
  }

  // Leaves in list_ what they left.
  template <typename M>
  void panels(const qks_cancel* cancel, size_t count) {
    int width = 16;
    if (rule_.mode == QKS_SVD_RANK) {
      const int r = std::min(rule_.rank, shape_.n), wanted = r + std::max(4, r / 4);
      if (r == 0) {
        return;
      }
      width = (wanted + 15) / 16 * 16;
    }
    std::vector<int32_t> next = list_, hopeless;
    for (; width <= plan_.widest && !next.empty(); width *= 2) {
      stopIfCancelled(cancel);
      PanelTask<M> t{};
      fill(t, next);
      t.plan = planPanel(shape_, width, plan_.sharedLimit);
      t.rule = rule_;
      t.seed = request_.seed * 0x2545f4914f6cdd1dull + 0x632be59bd9b4e019ull;
      t.transposed = workspace_.transposed.get<M>();
      t.found = there_.found;
      t.scratch = workspace_.scratch.get<char>();
      const int blocks =
          std::min(t.plan.scratch ? plan_.slots : plan_.residentBlocks(device_, kPanelThreads, t.plan.shared), t.count);
      timed("svd: panels", panelKernel<M>, dim3(static_cast<unsigned>(blocks)), dim3(kPanelThreads), t.plan.shared,
            device_.stream, t);
      toHost(here_.found, there_.found, count);
      land();
      device_.stream.finish("decomposing matrices");
      std::vector<int32_t> narrow;
      for (int32_t i : next) {
        const int32_t found = here_.found[i];
        if (found == kTooNarrow) {
          narrow.push_back(i);
        }
        if (found == kHopeless) {
          hopeless.push_back(i);
        }
      }
      next = narrow;
    }
    list_ = next;
    list_.insert(list_.end(), hopeless.begin(), hopeless.end());
    std::sort(list_.begin(), list_.end());
  }

  template <typename M>
  void fully(const qks_cancel* cancel) {
    FullTask<M> t{};
    fill(t, list_);
    t.single = plan_.single;
    t.wide = plan_.wide;
    t.settled = there_.settled;
    t.scratch = workspace_.scratch.get<double>();
    t.direct = plan_.direct;
    t.polished = plan_.polish;
    const Stopwatch::Lap lap(device_.arithmetic, device_.stream);
    if (!plan_.spread) {
      launchFull(device_, plan_, t);
      return;
    }
    const std::vector<uint8_t> settled = decomposeSpread(device_, t, workspace_.scratch.get<int32_t>(), cancel);
    for (size_t i = 0; i < list_.size(); i++) {
      here_.settled[list_[i]] = settled[i];
    }
    toDevice(there_.settled, here_.settled, static_cast<size_t>(plan_.batch));
  }

  // Order, rank and error of matrix i of the batch.
  void choose(size_t i, bool full, int64_t global, qks_svd_summary& summary, CudaDecomposition& out) {
    const size_t n = static_cast<size_t>(shape_.n);
    const PreparedMatrix& p = here_.prepared[i];
    const double* squares = here_.squares + i * n;
    int32_t* order = here_.order + i * n;
    const RankChoice choice = chooseRank(shape_, rule_, p.total, squares, full, here_.found[i], order);
    here_.found[i] = choice.found;
    here_.live[i] = choice.live;
    auto value = [&](int32_t j) {
      return j < choice.live ? std::ldexp(std::sqrt(squares[order[j]]), p.exponent) : 0.0;
    };
    if (!vectors_) {
      std::vector<double>& values = out.values[static_cast<size_t>(global)];
      values.resize(static_cast<size_t>(choice.found));
      for (int32_t j = 0; j < choice.found; j++) {
        values[static_cast<size_t>(j)] = value(j);
      }
    } else {
      for (int32_t j = 0; j < choice.found; j++) {
        const int64_t to = global * choice.found + j;
        if (request_.out_dtype == QKS_F32) {
          static_cast<float*>(vectors_->s)[to] = static_cast<float>(value(j));
        } else {
          static_cast<double*>(vectors_->s)[to] = value(j);
        }
      }
    }
    out.ranks[static_cast<size_t>(global)] = choice.found;
    out.maxRank = std::max(out.maxRank, choice.found);
    summary.ranks[global] = choice.found;
    summary.total_energy[global] = std::ldexp(std::ldexp(p.total, p.exponent), p.exponent);
    summary.error_bound[global] = choice.error;
    summary.converged[global] = full ? here_.settled[i] : 1;
  }

  // Where the vectors of the batch at `first` go: to where they were asked for, or to memory of `out`.
  Landing placeOf(int64_t first, size_t count, size_t bytesU, size_t bytesV, CudaDecomposition& out) {
    if (vectors_) {
      const size_t width = static_cast<size_t>(first * knownWidth(request_)) * outElement_;
      return {static_cast<char*>(vectors_->u) + width * static_cast<size_t>(request_.rows),
              static_cast<char*>(vectors_->v) + width * static_cast<size_t>(request_.cols), bytesU, bytesV};
    }
    out.batches.emplace_back(bytesU + bytesV);
    char* to = out.batches.back().get();
    if (!to) {
      throw std::bad_alloc();
    }
    for (size_t i = 0; i < count; i++) {
      const size_t before = static_cast<size_t>(here_.before[i]) * outElement_;
      out.u[static_cast<size_t>(first) + i] = to + before * static_cast<size_t>(request_.rows);
      out.v[static_cast<size_t>(first) + i] = to + bytesU + before * static_cast<size_t>(request_.cols);
    }
    return {to, to + bytesU, bytesU, bytesV};
  }

  void finish(int64_t first, size_t count, CudaDecomposition& out) {
    int64_t triplets = 0;
    for (size_t i = 0; i < count; i++) {
      here_.before[i] = triplets;
      triplets += here_.found[i];
    }
    const size_t bytesU = static_cast<size_t>(triplets * request_.rows) * outElement_,
                 bytesV = static_cast<size_t>(triplets * request_.cols) * outElement_;
    const Landing landing = placeOf(first, count, bytesU, bytesV, out);
    land();
    if (triplets == 0) {
      return;
    }
    workspace_.packed.reserve(bytesU + bytesV, "singular vectors of a batch");
    toDevice(there_.found, here_.found, count);
    toDevice(there_.live, here_.live, count);
    toDevice(there_.before, here_.before, count);
    toDevice(there_.order, here_.order, count * static_cast<size_t>(shape_.n));
    FinishTask t{};
    t.shape = shape_;
    t.y = workspace_.y.get<double>();
    t.v = workspace_.v.get<double>();
    t.squares = there_.squares;
    t.order = there_.order;
    t.found = there_.found;
    t.live = there_.live;
    t.before = there_.before;
    t.outU = workspace_.packed.get<char>();
    t.outV = workspace_.packed.get<char>() + bytesU;
    t.seed = 0x2545f4914f6cdd1dull;
    timed("svd: finish", request_.out_dtype == QKS_F32 ? finishKernel<float> : finishKernel<double>,
          dim3(static_cast<unsigned>(count)), dim3(kFinishThreads),
          2 * static_cast<size_t>(shape_.n) * sizeof(double) + 128, device_.stream, t);
    check(cudaEventRecord(packed_, device_.stream), "recording an event");
    landing_ = landing;
  }

  template <typename M>
  void runBatch(int64_t first, const qks_cancel* cancel, qks_svd_summary& summary, CudaDecomposition& out) {
    const int count = countOf(first);
    prepare<M>(first, count);
    list_.resize(static_cast<size_t>(count));
    for (int i = 0; i < count; i++) {
      list_[static_cast<size_t>(i)] = i;
    }
    if (plan_.widest) {
      panels<M>(cancel, list_.size());
    }
    std::vector<uint8_t> full(static_cast<size_t>(count), 0);
    for (int32_t i : list_) {
      full[static_cast<size_t>(i)] = 1;
    }
    stopIfCancelled(cancel);
    if (!list_.empty()) {
      fully<M>(cancel);
    }
    upload(first + plan_.batch);
    land();
    toHost(here_.squares, there_.squares, static_cast<size_t>(count) * static_cast<size_t>(shape_.n));
    toHost(here_.settled, there_.settled, static_cast<size_t>(count));
    device_.stream.finish("decomposing matrices");
    for (int i = 0; i < count; i++) {
      choose(static_cast<size_t>(i), full[static_cast<size_t>(i)], first + i, summary, out);
    }
    finish(first, static_cast<size_t>(count), out);
  }
};

}  // namespace

void decompose(Device& device, Transfer& transfer, SvdWorkspace& workspace, const qks_svd_request& request,
               const qks_cancel* cancel, qks_svd_summary& summary, const qks_svd_vectors* vectors,
               CudaDecomposition& out) {
  checkSvdRequest(request);
  checkSvdVectors(request, vectors);
  out.n = request.n;
  out.rows = request.rows;
  out.cols = request.cols;
  out.maxRank = 0;
  out.outDtype = request.out_dtype;
  const size_t n = static_cast<size_t>(request.n);
  out.ranks.assign(n, 0);
  out.values.assign(vectors ? 0 : n, {});
  out.u.assign(vectors ? 0 : n, nullptr);
  out.v.assign(vectors ? 0 : n, nullptr);
  out.batches.clear();
  if (request.n == 0) {
    summary.max_rank = 0;
    return;
  }
  const Kept::Use use(workspace);
  Decomposer(device, transfer, workspace, request, vectors).run(cancel, summary, out);
  summary.max_rank = out.maxRank;
}

}  // namespace qkspace
