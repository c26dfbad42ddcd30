// The explicit terms of a batch: checked, in order of contrast, with the factors of their queries and keys.
#pragma once

#include "abi.h"
#include "common/batch.h"
#include "common/pool.h"

namespace qkspace {

// Fills the fields of `out` that belong to explicit terms; its tensors have been checked before. Throws a Failure that
// names the array, the index and what was expected.
void prepareTerms(const qks_spec& spec, const qks_terms& in, Pool& pool, Batch& out);

}  // namespace qkspace
