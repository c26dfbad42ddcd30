// Everything that is promised of a decomposition, checked; for svd_test.cc.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "common/svd_request.h"
#include "cuda/svd/svd.h"

namespace qkspace {

inline int failures = 0;
inline std::chrono::steady_clock::time_point began = std::chrono::steady_clock::now();

inline void line(bool ok, const std::string& name, const std::string& detail = "") {
  const auto now = std::chrono::steady_clock::now();
  std::printf("%s %s%s%s (%.1f s)\n", ok ? "ok  " : "FAIL", name.c_str(), detail.empty() ? "" : ": ", detail.c_str(),
              std::chrono::duration<double>(now - began).count());
  std::fflush(stdout);
  began = now;
  failures += !ok;
}

struct Result {
  std::vector<int32_t> ranks;
  std::vector<double> energy, error, u, s, v;
  std::vector<uint8_t> converged;
  int maxRank = 0;
};

inline qks_svd_request request(const void* data, int dtype, int64_t n, int64_t rows, int64_t cols) {
  qks_svd_request r{};
  r.matrices = data;
  r.length = n * rows * cols;
  r.dtype = dtype;
  r.n = n;
  r.rows = rows;
  r.cols = cols;
  r.mode = QKS_SVD_FULL;
  r.seed = 1;
  r.out_dtype = QKS_F64;
  return r;
}

inline Device& theDevice() {
  static Device device(0, 0);
  return device;
}

inline Transfer& theTransfer() {
  static Pool pool(2);
  static Transfer transfer(theDevice(), pool);
  return transfer;
}

inline SvdWorkspace& theWorkspace() {
  static SvdWorkspace workspace(theDevice().budget);
  return workspace;
}

inline Result run(const qks_svd_request& r, const qks_cancel* cancel = nullptr) {
  Device& device = theDevice();
  const size_t n = static_cast<size_t>(r.n);
  Result out;
  out.ranks.resize(n);
  out.energy.resize(n);
  out.error.resize(n);
  out.converged.resize(n);
  qks_svd_summary summary{out.ranks.data(), out.energy.data(), out.error.data(), out.converged.data(), 0};
  const int32_t width = r.n > 0 ? knownWidth(r) : 0;
  auto make = [&](int32_t columns) {
    out.u.resize(n * static_cast<size_t>(r.rows * columns));
    out.s.resize(n * static_cast<size_t>(columns));
    out.v.resize(n * static_cast<size_t>(r.cols * columns));
    return qks_svd_vectors{out.u.data(), out.s.data(), out.v.data()};
  };
  CudaDecomposition found;
  const bool known = r.mode != QKS_SVD_ENERGY;
  const qks_svd_vectors vectors = make(known ? width : 0);
  decompose(device, theTransfer(), theWorkspace(), r, cancel, summary, known ? &vectors : nullptr, found);
  if (device.budget.used != theWorkspace().bytes()) {
    line(false, "no memory is used but what is kept");
  }
  out.maxRank = summary.max_rank;
  if (!known) {
    readDecomposition(found, theTransfer().pool(), make(out.maxRank));
  }
  return out;
}

inline double defect(const double* x, int length, int width, int rank) {
  double worst = 0;
  for (int a = 0; a < rank; a++) {
    for (int b = 0; b <= a; b++) {
      double sum = 0;
      for (int i = 0; i < length; i++) {
        sum += x[i * width + a] * x[i * width + b];
      }
      sum = std::fabs(sum - (a == b));
      worst = sum <= worst ? worst : std::isnan(sum) ? 1e300 : sum;
    }
  }
  return worst;
}

struct Check {
  std::string problem;
  double residual = 0, values = 0, orthogonality = 0;
  void expect(bool ok, const std::string& what) {
    if (!ok && problem.empty()) {
      problem = what;
    }
  }
};

// Everything that is promised of one matrix; `s` are its singular values.
inline void verify(Check& check, const qks_svd_request& r, const Result& x, int64_t i, const double* a,
                   const std::vector<double>& s) {
  const int rows = static_cast<int>(r.rows), cols = static_cast<int>(r.cols), width = x.maxRank,
            n = std::min(rows, cols);
  const int rank = x.ranks[i];
  const double top = s[0] > 0 ? s[0] : 1;
  double total = 0, tail = 0, left = 0;
  for (int j = 0; j < n; j++) {
    total += (s[j] / top) * (s[j] / top);
    if (j >= rank) {
      tail += (s[j] / top) * (s[j] / top);
    }
  }
  const double *u = &x.u[i * rows * width], *v = &x.v[i * cols * width], *values = &x.s[i * width];
  for (int p = 0; p < rows; p++) {
    for (int q = 0; q < cols; q++) {
      double sum = a[p * cols + q] / top;
      for (int c = 0; c < width; c++) {
        sum -= u[p * width + c] * (values[c] / top) * v[q * width + c];
      }
      left += sum * sum;
    }
  }
  const double best = total > 0 ? std::sqrt(tail / total) : 0,
               residual = total > 0 ? std::sqrt(left / total) : std::sqrt(left);
  check.residual = std::max(check.residual, residual - best);
  check.expect(residual <= best + 1e-6, "residual " + std::to_string(residual) + ", best " + std::to_string(best));
  char text[120];
  std::snprintf(text, sizeof text, "residual %g, bound %g, best %g", residual, x.error[i], best);
  check.expect(residual <= x.error[i] + 1e-15 && x.error[i] <= best + 1e-6, text);
  for (int c = 0; c < width; c++) {
    const double wrong = std::fabs(values[c] - (c < rank ? s[c] : 0.0)) / top;
    check.values = std::max(check.values, wrong);
    check.expect(wrong <= 1e-7, "singular value " + std::to_string(c) + " off by " + std::to_string(wrong));
    check.expect(c == 0 || values[c] <= values[c - 1], "not descending");
  }
  const double wrong = std::max(defect(u, rows, width, rank), defect(v, cols, width, rank));
  check.orthogonality = std::max(check.orthogonality, wrong);
  std::snprintf(text, sizeof text, "orthonormal to %g", wrong);
  check.expect(wrong <= 1e-11, text);
  for (int c = 0; c < rank; c++) {
    int at = 0;
    for (int p = 1; p < rows; p++) {
      if (std::fabs(u[p * width + c]) > std::fabs(u[at * width + c])) {
        at = p;
      }
    }
    check.expect(u[at * width + c] > 0, "signs");
  }
  check.expect(x.converged[i] == 1, "not converged");
  if (s[0] > 1e-140 && s[0] < 1e140) {
    check.expect(std::fabs(x.energy[i] / (total * top * top) - 1) < 1e-10, "energy");
  }
  auto rankAt = [&](double energy) {
    double sum = 0;
    for (int j = 0; j < n && total > 0; j++) {
      if ((sum += (s[j] / top) * (s[j] / top)) >= energy * total) {
        return j + 1;
      }
    }
    return total > 0 ? n : 0;
  };
  if (r.mode == QKS_SVD_FULL) {
    check.expect(rank == n, "rank of a full one");
  }
  if (r.mode == QKS_SVD_RANK) {
    check.expect(rank == std::min(n, r.rank), "rank asked for");
  }
  if (r.mode == QKS_SVD_ENERGY) {
    int low = rankAt(r.energy - 1e-12), high = rankAt(r.energy + 1e-12);
    if (r.max_rank) {
      low = std::min(low, r.max_rank), high = std::min(high, r.max_rank);
    }
    check.expect(rank == low || rank == high, "rank " + std::to_string(rank) + ", expected " + std::to_string(low));
  }
}

}  // namespace qkspace
