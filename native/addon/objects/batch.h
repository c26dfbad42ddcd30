// The batch argument of covarianceAdd.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "abi.h"
#include "addon/job.h"
#include "addon/objects/context.h"

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

}  // namespace qkspace::addon
