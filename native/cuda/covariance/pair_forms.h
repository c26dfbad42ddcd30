// What the explicit terms of a batch have in common, as far as kernels can make use of it.
#pragma once

#include "common/pool.h"
#include "common/prepared_batch.h"

namespace qkspace {

struct PairForms {
  bool direct[2] = {true, true};  // by side: every set is one key with factor 1, so that its row is a row of k
  bool unitQueries = true;        // queries have weight 1 in the q-sums of both sides
  bool oneQuery = true;           // both sides of a term have the same query with the same weight
};

PairForms formsOf(const PreparedBatch& batch, Pool& pool);

}  // namespace qkspace
