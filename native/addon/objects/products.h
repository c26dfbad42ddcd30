// Matrices that differ only in the weights of the same products.
#pragma once

#include <napi.h>

namespace qkspace::addon {

// largestOfProducts(job, context, { q, k, query, key, coefficients, draws, rank, u, v, seed })
//   -> promise of the largest singular values [heads, draws]
Napi::Value largestOfProducts(const Napi::CallbackInfo& info);

}  // namespace qkspace::addon
