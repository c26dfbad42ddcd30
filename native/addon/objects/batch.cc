#include "addon/objects/batch.h"

#include <string>

#include "addon/arguments.h"
#include "addon/objects/rows.h"

namespace qkspace::addon {
namespace {

int64_t lengthOfInts(const Napi::Value& value, const char* name) { return peek(value, napi_int32_array, name).length; }

// Undefined stands for weights that are all 1.
const float* weights(Job& job, const Napi::Value& value, int64_t length, const char* name) {
  return value.IsUndefined() ? nullptr : floats(job, value, length, name);
}

qks_terms termsArgument(Job& job, const Napi::Value& value) {
  const Napi::Object from = object(value, "terms");
  const Napi::Value contrast = from.Get("contrast"), query = from.Get("query"), queryNeg = from.Get("queryNeg"),
                    posOffsets = from.Get("posOffsets"), pos = from.Get("pos"), negOffsets = from.Get("negOffsets"),
                    neg = from.Get("neg"), termWeights = from.Get("weights"), posWeights = from.Get("posWeights"),
                    negWeights = from.Get("negWeights");
  qks_terms t{};
  t.count = lengthOfInts(contrast, "contrast");
  t.pos_count = lengthOfInts(pos, "pos");
  t.neg_count = lengthOfInts(neg, "neg");
  t.contrast = ints(job, contrast, t.count, "contrast");
  t.query = ints(job, query, t.count, "query");
  t.query_neg = queryNeg.StrictEquals(query) ? t.query : ints(job, queryNeg, t.count, "queryNeg");
  t.pos_offsets = ints(job, posOffsets, t.count + 1, "posOffsets");
  t.neg_offsets = ints(job, negOffsets, t.count + 1, "negOffsets");
  t.pos = ints(job, pos, t.pos_count, "pos");
  t.neg = ints(job, neg, t.neg_count, "neg");
  t.weights = weights(job, termWeights, t.count, "weights");
  t.pos_weights = weights(job, posWeights, t.pos_count, "posWeights");
  t.neg_weights = weights(job, negWeights, t.neg_count, "negWeights");
  return t;
}

qks_labels labelsArgument(Job& job, const Napi::Value& value) {
  const Napi::Object from = object(value, "labels");
  const Napi::Value queryRows = from.Get("queryRows"), queryPositions = from.Get("queryPositions"),
                    queryLabels = from.Get("queryLabels"), keyRows = from.Get("keyRows"),
                    keyPositions = from.Get("keyPositions"), keyLabels = from.Get("keyLabels");
  qks_labels l{};
  l.contrast = smallInteger(from.Get("contrast"), "contrast");
  l.key_scope = smallInteger(from.Get("keyScope"), "keyScope");
  l.query_count = lengthOfInts(queryRows, "queryRows");
  l.key_count = lengthOfInts(keyRows, "keyRows");
  l.query_rows = ints(job, queryRows, l.query_count, "queryRows");
  l.query_positions = ints(job, queryPositions, l.query_count, "queryPositions");
  l.query_labels = ints(job, queryLabels, l.query_count, "queryLabels");
  l.key_rows = ints(job, keyRows, l.key_count, "keyRows");
  l.key_positions = ints(job, keyPositions, l.key_count, "keyPositions");
  l.key_labels = ints(job, keyLabels, l.key_count, "keyLabels");
  return l;
}

}  // namespace

std::shared_ptr<BatchArgument> batchArgument(Job& job, const std::shared_ptr<Context>& context,
                                             const Napi::Value& value) {
  const Napi::Env env = value.Env();
  const Napi::Object from = object(value, "batch");
  auto argument = std::make_shared<BatchArgument>();
  const TensorArgument q = tensorArgument(context, from.Get("q"), "q"), k = tensorArgument(context, from.Get("k"), "k");
  const Napi::Value terms = from.Get("terms"), labels = from.Get("labels");
  if (!terms.IsUndefined()) {
    argument->batch.terms = termsArgument(job, terms);
  }
  if (!labels.IsUndefined()) {
    if (!labels.IsArray()) {
      throw Napi::TypeError::New(env, "labels must be an array");
    }
    const Napi::Array list = labels.As<Napi::Array>();
    const uint32_t count = list.Length();
    for (uint32_t i = 0; i < count; i++) {
      const Napi::HandleScope scope(env);
      argument->labels.push_back(labelsArgument(job, list.Get(i)));
    }
  }
  argument->batch.label_count = static_cast<int64_t>(argument->labels.size());
  argument->batch.labels = argument->labels.data();
  const std::vector<qks_tensor> tensors = withData(job, env, {q, k});
  argument->batch.q = tensors[0];
  argument->batch.k = tensors[1];
  return argument;
}

}  // namespace qkspace::addon
