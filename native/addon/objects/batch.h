// The batch argument of covarianceAdd, and of covarianceAddParts.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "abi.h"
#include "addon/objects/context.h"
#include "addon/queue/job.h"

namespace qkspace::addon {

// `batch` points into `labels` and into the job's memory.
struct BatchArgument {
  qks_batch batch{};
  std::vector<qks_labels> labels;
};

// { q, k, terms, labels }, of which terms and labels may be undefined. Index arrays are copied always: the backend
// checks them and uses them afterwards.
std::shared_ptr<BatchArgument> batchArgument(Job& job, const std::shared_ptr<Context>& context,
                                             const Napi::Value& value);

// The heads of a batch that one covariance adds.
struct PartHeads {
  std::shared_ptr<Context> context;
  int64_t firstHead, heads, firstKeyHead, keyHeads;
};

// One batch for each part, over the same memory: that of the job, which all parts must keep. q and k are whole tensors,
// or arrays of what each part's context keeps.
std::vector<std::shared_ptr<BatchArgument>> batchParts(Job& job, const std::vector<PartHeads>& parts,
                                                       const Napi::Value& value);

}  // namespace qkspace::addon
