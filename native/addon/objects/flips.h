// Matrices that differ only in the signs of their units.
#pragma once

#include <napi.h>

namespace qkspace::addon {

// largestOfFlips(job, context, { q, k, heads, coefficients, units, unitCount, flips, draws, rank, u, v, components,
//   threads }) -> promise of the largest singular values [heads, draws, components]
Napi::Value largestOfFlips(const Napi::CallbackInfo& info);

}  // namespace qkspace::addon
