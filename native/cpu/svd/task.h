// What a decomposition kernel is asked to do: one matrix. Plain structs and raw pointers only, as it is compiled once
// for every instruction set.
#pragma once

#include "abi.h"
#include "cpu/vectors/before_target.h"

namespace qkspace {

struct SvdTask {
  const void* matrix;
  int32_t dtype;  // QKS_F32 or QKS_F64
  int32_t rows, cols;
  int32_t mode;
  double energy;
  int32_t rank, maxRank;
  uint64_t seed;
  void* scratch;  // svdScratch bytes, 64-aligned
  // Results. ut [most, rows] and vt [most, cols] hold the vectors as rows; s [most]; inside scratch.
  double *ut, *s, *vt;
  int32_t found;
  double totalEnergy, errorBound;
  uint8_t converged;
};

}  // namespace qkspace
