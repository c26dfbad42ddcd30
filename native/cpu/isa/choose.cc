#include "cpu/isa/choose.h"

#if defined(QKS_X86) && defined(_MSC_VER) && !defined(__clang__)
#include <immintrin.h>
#include <intrin.h>
#elif defined(QKS_X86)
#include <cpuid.h>
#endif

namespace qkspace {
namespace {

#if defined(QKS_X86)
#if defined(_MSC_VER) && !defined(__clang__)
bool hasAvx2() {
  int r[4];
  __cpuid(r, 1);
  if (!(r[2] & (1 << 27)) || (_xgetbv(0) & 6) != 6) {
    return false;
  }
  bool fma = (r[2] & (1 << 12)) != 0, f16c = (r[2] & (1 << 29)) != 0;
  __cpuidex(r, 7, 0);
  return fma && f16c && (r[1] & (1 << 5)) != 0;
}

bool hasAvx512() {
  if (!hasAvx2() || (_xgetbv(0) & 0xe6) != 0xe6) {
    return false;
  }
  int r[4];
  __cpuidex(r, 7, 0);
  const int wanted = (1 << 16) | (1 << 17) | (1 << 30) | (1 << 31);  // F, DQ, BW, VL
  return (r[1] & wanted) == wanted;
}
#else
// Clang 14 does not know "f16c" in __builtin_cpu_supports.
bool hasF16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & (1u << 29)) != 0;
}

bool hasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && hasF16c(); }

bool hasAvx512() {
  return hasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif
#endif

struct Choice {
  const Kernels* kernels;
  bool (*runs)();
};

bool always() { return true; }

// Best first.
const Choice* choices(int& count) {
  static const Choice all[] = {
#if defined(QKS_X86)
      {&kernelsAvx512, hasAvx512},
      {&kernelsAvx2, hasAvx2},
#endif
#if defined(QKS_ARM64)
      {&kernelsNeon, always},
#endif
      {&kernelsBaseline, always},
  };
  count = static_cast<int>(sizeof all / sizeof *all);
  return all;
}

}  // namespace

const Kernels* chooseKernels(const std::string& name, std::string& reason) {
  int count = 0;
  const Choice* all = choices(count);
  for (int i = 0; i < count; i++) {
    if (name.empty()) {
      if (all[i].runs()) {
        return all[i].kernels;
      }
    } else if (name == all[i].kernels->name) {
      if (all[i].runs()) {
        return all[i].kernels;
      }
      break;
    }
  }
  for (const char* known : {"baseline", "avx2", "avx512", "neon"}) {
    if (name != known) {
      continue;
    }
    reason = "this processor does not have the instruction set '" + name + "'; it has: " + availableKernels();
    return nullptr;
  }
  reason = "no instruction set is called '" + name + "'; this processor has: " + availableKernels();
  return nullptr;
}

const char* availableKernels() {
  static const std::string names = [] {
    std::string text;
    int count = 0;
    const Choice* all = choices(count);
    for (int i = count - 1; i >= 0; i--) {
      if (!all[i].runs()) {
        continue;
      }
      if (!text.empty()) {
        text += ",";
      }
      text += all[i].kernels->name;
    }
    return text;
  }();
  return names.c_str();
}

}  // namespace qkspace
