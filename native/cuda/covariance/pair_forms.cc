#include "cuda/covariance/pair_forms.h"

#include <cstddef>
#include <vector>

#include "common/blocks.h"

namespace qkspace {
namespace {

void limit(PairForms& forms, const PairForms& other) {
  forms.direct[0] &= other.direct[0];
  forms.direct[1] &= other.direct[1];
  forms.unitQueries &= other.unitQueries;
  forms.oneQuery &= other.oneQuery;
}

PairForms formsOfSome(const PreparedBatch& b, int64_t from, int64_t to) {
  PairForms forms;
  for (int64_t t = from; t < to; t++) {
    for (int s = 0; s < 2; s++) {
      const TermSide& side = b.side[s];
      forms.direct[s] &= side.offsets[t + 1] - side.offsets[t] == 1 && side.keyScale[t] == 1;
      forms.unitQueries &= side.queryScale[t] == 1;
    }
    forms.oneQuery &= b.side[0].query[t] == b.side[1].query[t] && b.side[0].queryScale[t] == b.side[1].queryScale[t];
  }
  return forms;
}

}  // namespace

PairForms formsOf(const PreparedBatch& b, Pool& pool) {
  const Blocks blocks(pool, 0, b.start[b.contrasts]);
  std::vector<PairForms> each(static_cast<size_t>(blocks.blocks()));
  blocks.each(
      [&](int64_t block, int64_t from, int64_t to) { each[static_cast<size_t>(block)] = formsOfSome(b, from, to); });
  PairForms forms;
  for (const PairForms& some : each) {
    limit(forms, some);
  }
  for (int s = 0; s < 2; s++) {
    forms.direct[s] &= b.side[s].keyWeights == nullptr;
  }
  return forms;
}

}  // namespace qkspace
