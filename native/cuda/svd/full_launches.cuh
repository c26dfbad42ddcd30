// The launches of a full decomposition of matrices, each by one thread block (kernels/full.cuh).
#pragma once

#include <cuda_runtime.h>

#include <algorithm>

#include "cuda/runtime/device.h"
#include "cuda/runtime/launch.cuh"
#include "cuda/svd/batch_plan.h"
#include "cuda/svd/kernels/full.cuh"
#include "cuda/svd/kernels/polish.cuh"

namespace qkspace {

// The kernel for rows of any length, of 64, or of 128 elements.
template <typename Task>
void launchJacobi(const char* name, Device& device, const BatchPlan& plan, const JacobiPlan& jacobi, void (*any)(Task),
                  void (*of64)(Task), void (*of128)(Task), const Task& task) {
  const int blocks = std::min(plan.residentBlocks(device, jacobi.threads, jacobi.shared), task.count);
  launch(name,
         task.shape.ldm == 64    ? of64
         : task.shape.ldm == 128 ? of128
                                 : any,
         dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(jacobi.threads)), jacobi.shared, device.stream,
         task);
}

template <typename M>
void launchFull(Device& device, const BatchPlan& plan, const FullTask<M>& t) {
  if (!plan.direct) {
    launchJacobi("svd: f32", device, plan, plan.single, singleKernel<M, 0>, singleKernel<M, 64>, singleKernel<M, 128>,
                 t);
    const dim3 blocks(static_cast<unsigned>(std::min(plan.slots, t.count)));
    if (plan.polish) {
      launch("svd: polish", polishKernel<M>, blocks, dim3(kTensorThreads), kPolishShared, device.stream, t);
    } else {
      launch("svd: refine", refineKernel<M>, blocks, dim3(kProductThreads), 0, device.stream, t);
    }
  }
  launchJacobi("svd: f64", device, plan, plan.wide, wideKernel<M, 0>, wideKernel<M, 64>, wideKernel<M, 128>, t);
}

}  // namespace qkspace
