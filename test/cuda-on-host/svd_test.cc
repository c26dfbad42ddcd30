// native/cuda/svd against a plain f64 Jacobi, on matrices of prescribed spectrum. A line a case; exit status 1
// when one fails. Run by test/cuda-svd.test.js.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/svd/jacobi/schedule.cuh"
#include "cuda/svd/svd.h"
#include "largest_checks.h"
#include "svd_checks.h"
#include "svd_reference.h"

using namespace qkspace;

namespace {

struct Spectrum {
  const char* name;
  double (*at)(int i, int k);
};
const Spectrum kSpectra[] = {
    {"flat", [](int, int) { return 1.0; }},
    {"linear", [](int i, int k) { return 1 - i / (2.0 * k); }},
    {"rank 1", [](int i, int) { return i == 0 ? 3.0 : 0.0; }},
    {"deficient", [](int i, int k) { return 2 * i < k ? 1.0 / (i + 1) : 0.0; }},
    {"clustered", [](int i, int k) { return 3 * i < k   ? 1.0
                                            : 2 * i < k ? 0.5
                                                        : 1e-3; }},
    {"graded", [](int i, int k) { return std::pow(10.0, -16.0 * i / k); }},
    {"decaying", [](int i, int) { return std::pow(0.6, i); }},
    {"low rank and noise", [](int i, int) { return i < 5 ? 1 - 0.05 * i : 0.01; }},
    {"zero", [](int, int) { return 0.0; }},
};

void shapes(int rows, int cols, int dtype, std::vector<int> which, bool fullOnly = false) {
  const int k = std::min(rows, cols);
  const size_t size = static_cast<size_t>(rows) * cols;
  std::vector<double> matrices;
  std::vector<std::vector<double>> values;
  for (int w : which) {
    std::vector<double> s(k);
    for (int i = 0; i < k; i++) {
      s[i] = kSpectra[w].at(i, k);
    }
    Matrix a = withSpectrum(rows, cols, s, 17 + static_cast<uint64_t>(w));
    if (dtype == QKS_F32) {
      for (double& x : a) {
        x = static_cast<float>(x);
      }
      s = reference(a.data(), rows, cols);
    }
    matrices.insert(matrices.end(), a.begin(), a.end());
    values.push_back(s);
  }
  std::vector<float> single(matrices.begin(), matrices.end());
  const void* data = dtype == QKS_F32 ? static_cast<const void*>(single.data()) : matrices.data();
  const int64_t n = static_cast<int64_t>(which.size());
  for (int form = 0; form < (fullOnly ? 1 : 6); form++) {
    qks_svd_request r = request(data, dtype, n, rows, cols);
    std::string name = "full";
    if (form == 1) {
      r.mode = QKS_SVD_RANK;
      r.rank = (k + 4) / 5;
      name = "rank " + std::to_string(r.rank);
    }
    if (form > 1) {
      r.mode = QKS_SVD_ENERGY;
      r.energy = form == 2 ? 0.5 : form == 3 ? 0.9 : 0.9901;
      name = "energy " + std::to_string(r.energy);
      if (form == 5) {
        r.max_rank = 2;
        name += " at most 2";
      }
    }
    const Result x = run(r);
    Check check;
    for (int64_t i = 0; i < n; i++) {
      const std::string before = check.problem;
      verify(check, r, x, i, &matrices[static_cast<size_t>(i) * size], values[static_cast<size_t>(i)]);
      if (before.empty() && !check.problem.empty()) {
        check.problem = std::string(kSpectra[which[static_cast<size_t>(i)]].name) + ": " + check.problem;
      }
    }
    char text[200];
    std::snprintf(text, sizeof text, "%s residual +%.0e, values %.0e, orthonormal %.0e", check.problem.c_str(),
                  check.residual, check.values, check.orthogonality);
    line(check.problem.empty(),
         std::to_string(rows) + " x " + std::to_string(cols) + (dtype == QKS_F32 ? " f32 " : " f64 ") + name, text);
  }
}

// Noise, and low rank with noise around it, in which values lie as they come.
void noise(int rows, int cols, int dtype) {
  const int k = std::min(rows, cols), n = 3;
  const size_t size = static_cast<size_t>(rows) * cols;
  Random random{static_cast<uint64_t>(rows + cols)};
  std::vector<double> matrices(n * size);
  for (double& x : matrices) {
    x = random.normal();
  }
  std::vector<double> s(k, 0.0);
  for (int j = 0; j < std::min(k, 5); j++) {
    s[j] = 900.0 - 150 * j;
  }
  const Matrix planted = withSpectrum(rows, cols, s, 5);
  for (size_t e = 0; e < size; e++) {
    matrices[size + e] += planted[e];
  }
  std::vector<float> single(matrices.begin(), matrices.end());
  if (dtype == QKS_F32) {
    matrices.assign(single.begin(), single.end());
  }
  const void* data = dtype == QKS_F32 ? static_cast<const void*>(single.data()) : matrices.data();
  const qks_svd_request r = request(data, dtype, n, rows, cols);
  const Result x = run(r);
  Check check;
  for (int i = 0; i < n; i++) {
    const double* a = &matrices[i * size];
    verify(check, r, x, i, a, reference(a, rows, cols));
  }
  char text[200];
  std::snprintf(text, sizeof text, "%s residual +%.0e, values %.0e, orthonormal %.0e", check.problem.c_str(),
                check.residual, check.values, check.orthogonality);
  line(check.problem.empty(), std::to_string(rows) + " x " + std::to_string(cols) + " noise", text);
}

void schedule() {
  bool ok = true;
  for (int size : {2, 4, 6, 8, 16, 50, 64, 128}) {
    std::vector<int> met(static_cast<size_t>(size) * size, 0);
    for (int round = 0; round < size - 1; round++) {
      std::vector<int> used(static_cast<size_t>(size), 0);
      for (int k = 0; k < size / 2; k++) {
        const VectorPair p = pairOfRound(size, round, k);
        ok &= p.first >= 0 && p.first < p.second && p.second < size;
        met[static_cast<size_t>(p.first) * size + p.second]++;
        ok &= !used[p.first]++ && !used[p.second]++;
      }
    }
    for (int i = 0; i < size; i++) {
      for (int j = i + 1; j < size; j++) {
        ok &= met[static_cast<size_t>(i) * size + j] == 1;
      }
    }
  }
  line(ok, "every pair meets once a sweep, every vector once a round");
}

void extremes() {
  struct Case {
    int dtype;
    double scale;
    int size;
  };
  for (const Case& c : {Case{QKS_F32, 1e-30, 20}, Case{QKS_F32, 1e30, 64}, Case{QKS_F32, 1e-37, 20},
                        Case{QKS_F64, 1e-300, 64}, Case{QKS_F64, 1e300, 64}, Case{QKS_F64, 1e-160, 20}}) {
    std::vector<double> s(c.size);
    for (int i = 0; i < c.size; i++) {
      s[i] = std::pow(0.7, i);
    }
    Matrix a = withSpectrum(c.size, c.size, s, 3);
    for (double& x : a) {
      x = c.dtype == QKS_F32 ? static_cast<float>(x * c.scale) : x * c.scale;
    }
    for (double& x : s) {
      x *= c.scale;
    }
    std::vector<float> single(a.begin(), a.end());
    if (c.dtype == QKS_F32) {
      s = reference(a.data(), c.size, c.size);
    }
    Check check;
    for (int mode : {QKS_SVD_FULL, QKS_SVD_ENERGY, QKS_SVD_RANK}) {
      qks_svd_request r =
          request(c.dtype == QKS_F32 ? static_cast<const void*>(single.data()) : a.data(), c.dtype, 1, c.size, c.size);
      r.mode = mode;
      r.energy = 0.99;
      r.rank = 3;
      verify(check, r, run(r), 0, a.data(), s);
    }
    char text[80];
    std::snprintf(text, sizeof text, "entries of %g, %d x %d", c.scale, c.size, c.size);
    line(check.problem.empty(), text, check.problem);
  }
}

// Low rank and noise, many of them; two runs, and the panels' ranks against those of the full spectrum.
void many() {
  const int n = 8, d = 64;
  Random random{5};
  std::vector<float> a(static_cast<size_t>(n) * d * d);
  for (int i = 0; i < n; i++) {
    std::vector<double> s(d);
    for (int j = 0; j < d; j++) {
      s[j] = std::pow(0.5 + 0.06 * i, j) + 0.001;
    }
    const Matrix one = withSpectrum(d, d, s, 100 + static_cast<uint64_t>(i));
    for (int e = 0; e < d * d; e++) {
      a[static_cast<size_t>(i) * d * d + e] = static_cast<float>(one[e] + 1e-3 * random.normal());
    }
  }
  qks_svd_request r = request(a.data(), QKS_F32, n, d, d);
  const Result full = run(r);
  bool same = true, ranks = true;
  for (double energy : {0.8, 0.99, 0.999}) {
    r.mode = QKS_SVD_ENERGY;
    r.energy = energy;
    const Result x = run(r), y = run(r);
    same &= x.ranks == y.ranks && x.maxRank == y.maxRank && !std::memcmp(x.u.data(), y.u.data(), x.u.size() * 8) &&
            !std::memcmp(x.s.data(), y.s.data(), x.s.size() * 8) &&
            !std::memcmp(x.v.data(), y.v.data(), x.v.size() * 8) &&
            !std::memcmp(x.error.data(), y.error.data(), x.error.size() * 8);
    for (int i = 0; i < n; i++) {
      double total = 0, sum = 0;
      for (int j = 0; j < d; j++) {
        total += full.s[i * d + j] * full.s[i * d + j];
      }
      int rank = 0;
      while (rank < d && sum < energy * total) {
        sum += full.s[i * d + rank] * full.s[i * d + rank], rank++;
      }
      ranks &= rank == x.ranks[i];
    }
  }
  line(ranks, "ranks by energy equal those of the full spectrum");
  line(same, "two runs agree to the bit");
}

template <typename T>
std::string messageOf(const qks_svd_request& r, int32_t status, const T* cancel) {
  try {
    run(r, cancel);
  } catch (const Failure& failure) {
    return failure.status == status ? failure.message : "another status: " + failure.message;
  }
  return "nothing failed";
}

int32_t countdown(const void* user) { return --*static_cast<int*>(const_cast<void*>(user)) < 0; }

void failing() {
  const qks_cancel* none = nullptr;
  std::vector<float> a(40 * 9, 1.0f);
  qks_svd_request r = request(a.data(), QKS_F32, 40, 3, 3);
  a[9 * 30 + 4] = NAN;
  line(messageOf(r, QKS_E_NON_FINITE, none) == "matrix 30 has an entry that is not finite", "a NaN is named");
  a[9 * 7 + 8] = -INFINITY;
  line(messageOf(r, QKS_E_NON_FINITE, none) == "matrix 7 has an entry that is not finite",
       "the first one that is not finite is named");
  a.assign(a.size(), 1.0f);
  int looks = 2;
  const qks_cancel cancel{&looks, countdown, nullptr};
  line(messageOf(r, QKS_E_ABORTED, &cancel) == "the operation was aborted", "cancelled between batches");
  looks = 0;
  line(messageOf(r, QKS_E_ABORTED, &cancel) == "the operation was aborted", "cancelled before the first");
  r.length = 3;
  line(messageOf(r, QKS_E_SHAPE, none) == "matrices has 3 elements, its shape needs n * rows * cols", "too short");
  r = request(a.data(), QKS_F32, 0, 3, 3);
  line(run(r).maxRank == 0, "no matrices");
}

}  // namespace

int main() {
  for (int d : {1, 3, 16, 40, 64}) {
    spectral(d, 6, 0, 1);
  }
  for (int d : {3, 16, 64}) {
    spectral(d, 6, std::min(d, 3), 1);
  }
  spectral(20, 4, 0, 1e30);
  spectral(20, 4, 2, 1e-30);
  spectral(128, 8, 0, 1);
  spectral(128, 2, 3, 1);
  spectral(250, 1, 2, 1);
  for (int d : {16, 64, 128}) {
    hidden(d);
  }
  const std::vector<int> all = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  schedule();
  failing();
  for (auto [rows, cols] : {std::pair{1, 1}, {2, 2}, {3, 3}, {1, 7}, {5, 1}, {8, 8}, {16, 16}, {12, 40}}) {
    shapes(rows, cols, QKS_F64, all);
  }
  shapes(16, 16, QKS_F32, all);
  shapes(48, 48, QKS_F32, all);
  shapes(70, 50, QKS_F64, all);
  shapes(64, 64, QKS_F64, all);
  extremes();
  many();
  shapes(100, 100, QKS_F32, {1, 7});
  shapes(128, 128, QKS_F32, {4, 7});
  shapes(160, 160, QKS_F32, {7}, true);
  noise(128, 128, QKS_F32);
  noise(120, 128, QKS_F64);
  noise(100, 40, QKS_F64);

  // What does not fit in shared memory, or in the budget at once.
  Device& device = theDevice();
  const size_t shared = device.properties.sharedMemPerBlockOptin, limit = device.budget.limit;
  device.properties.sharedMemPerBlockOptin = 99 * 1024;
  shapes(128, 128, QKS_F32, {7}, true);
  device.properties.sharedMemPerBlockOptin = 20 * 1024;
  shapes(64, 64, QKS_F32, {6, 7});
  device.properties.sharedMemPerBlockOptin = shared;
  // Over the whole device.
  theWorkspace().spreadFrom = 17;
  shapes(40, 70, QKS_F32, all);
  shapes(70, 50, QKS_F64, all);
  noise(100, 130, QKS_F32);
  theWorkspace().spreadFrom = 257;
  shapes(300, 270, QKS_F64, {2}, true);
  device.budget.limit = 400 << 10;
  shapes(64, 48, QKS_F64, {1, 6, 7});
  device.budget.limit = 100 << 10;
  std::vector<float> a(64 * 64, 1.0f);
  const qks_cancel* none = nullptr;
  const std::string message = messageOf(request(a.data(), QKS_F32, 1, 64, 64), QKS_E_OUT_OF_MEMORY, none);
  line(message.find("of GPU memory; ") != std::string::npos, "too little memory", message);
  device.budget.limit = limit;
  return failures ? 1 : 0;
}
