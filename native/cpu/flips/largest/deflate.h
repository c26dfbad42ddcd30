// Takes one direction out on both sides: A = (I - u u^T) A (I - v v^T), A f32 [rows, ld], u and v f64. The products are
// f64; A is rounded once a side.
#pragma once

#include "cpu/vectors/current.h"

namespace qkspace {
namespace {

// u [rows] and v [ld] are padded with zeros; `along` has ld entries.
static void deflate(float* a, int ld, int rows, const double* u, const double* v, double* along) {
  for (int j = 0; j < ld; j += W) {
    VD low = dset(0.0), high = low;
    for (int i = 0; i < rows; i++) {
      const VF x = fload(a + static_cast<size_t>(i) * ld + j);
      low = dmadd(dset(u[i]), widenLow(x), low);
      high = dmadd(dset(u[i]), widenHigh(x), high);
    }
    dstore(along + j, low);
    dstore(along + j + W / 2, high);
  }
  for (int i = 0; i < rows; i++, a += ld) {
    const VD f = dset(-u[i]);
    VD sum = dset(0.0);
    for (int j = 0; j < ld; j += W) {
      const VF x = fload(a + j);
      const VD low = dmadd(f, dload(along + j), widenLow(x)), high = dmadd(f, dload(along + j + W / 2), widenHigh(x));
      sum = dmadd(low, dload(v + j), sum);
      sum = dmadd(high, dload(v + j + W / 2), sum);
      fstore(a + j, narrow(low, high));
    }
    const VD g = dset(-dsum(sum));
    for (int j = 0; j < ld; j += W) {
      const VF x = fload(a + j);
      fstore(a + j, narrow(dmadd(g, dload(v + j), widenLow(x)), dmadd(g, dload(v + j + W / 2), widenHigh(x))));
    }
  }
}

}  // namespace
}  // namespace qkspace
