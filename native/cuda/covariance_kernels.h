// The launches of covariance accumulation. All run in `stream`; none waits unless it says so.
#pragma once

#include "cuda/device.h"
#include "cuda/work.cuh"

namespace qkspace {

struct CovarianceShape {
  int32_t heads, kvHeads, d;
};

// Sums of slices of explicit terms, f32-accurate, for any sets, weights and dtypes. partial: see work.cuh.
void sumTerms(cudaStream_t, const CovarianceShape&, const DeviceRows& q, const DeviceRows& k,
              const DeviceTerms (&sides)[2], const Slice* slices, int32_t count, float* partial, uint32_t* flags);

// The same where every set is one key and every weight 1, and q and k are both f16 or both bf16, d a multiple of 8.
void sumPairs16(cudaStream_t, const CovarianceShape&, const DeviceRows& q, const DeviceRows& k,
                const DeviceTerms (&sides)[2], const Slice* slices, int32_t count, float* partial, uint32_t* flags);

// Sums of slices of label-matched terms. `room`: labelRoom(...) doubles for each slice, head, side and tile.
void sumLabels(cudaStream_t, const CovarianceShape&, const DeviceRows& q, const DeviceRows& k, const DeviceLabels&,
               const Slice* slices, int32_t count, int32_t mostLabels, double* room, float* partial, uint32_t* flags);
int64_t labelRoom(const CovarianceShape&, int32_t mostLabels);

// sums += partial, slice by slice; those of contrast c of `contrasts` are [first[c], first[c + 1]).
void addPartial(cudaStream_t, const CovarianceShape&, const float* partial, const int32_t* contrasts,
                const int32_t* first, int32_t count, double* sums);

// sums += all terms of the slices, straight from the definition in f64: the reference, and what is done where
// products leave the range of f32.
void sumTermsExactly(cudaStream_t, const CovarianceShape&, const DeviceRows& q, const DeviceRows& k,
                     const DeviceTerms (&sides)[2], const Slice* slices, int32_t count, double* sums);
void sumLabelsExactly(cudaStream_t, const CovarianceShape&, const DeviceRows& q, const DeviceRows& k,
                      const DeviceLabels&, const Slice* slices, int32_t count, double* sums);

// Raises kNotFinite in `flags` where one of n numbers is not finite.
void findNonFinite(cudaStream_t, const double* sums, int64_t n, uint32_t* flags);
// to += from
void addSums(cudaStream_t, const double* from, int64_t n, double* to);

struct HeadRow {
  int32_t head = 0, row = 0;
};
// Whether one of the rows named (on the device) is not finite, and the first head and row where it is. Waits.
bool findNonFiniteRow(Device&, const DeviceRows&, const int32_t* rows, int64_t count, HeadRow& found);

}  // namespace qkspace
