#include "addon/objects/batch.h"

#include <string>
#include <utility>

#include "addon/arguments.h"
#include "addon/errors.h"
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

// Terms and labels, into `argument`. Their values are read before any of the tensors' data is taken.
void readIndices(Job& job, const Napi::Value& terms, const Napi::Value& labels, BatchArgument& argument) {
  const Napi::Env env = terms.Env();
  if (!terms.IsUndefined()) {
    argument.batch.terms = termsArgument(job, terms);
  }
  if (!labels.IsUndefined()) {
    if (!labels.IsArray()) {
      throw Napi::TypeError::New(env, "labels must be an array");
    }
    const Napi::Array list = labels.As<Napi::Array>();
    const uint32_t count = list.Length();
    for (uint32_t i = 0; i < count; i++) {
      const Napi::HandleScope scope(env);
      argument.labels.push_back(labelsArgument(job, list.Get(i)));
    }
  }
  argument.batch.label_count = static_cast<int64_t>(argument.labels.size());
  argument.batch.labels = argument.labels.data();
}

// A tensor of a batch in parts: one argument for all, or an array with one that is resident for each.
struct SplitTensor {
  std::vector<TensorArgument> arguments;
  bool whole;

  const TensorArgument& of(size_t part) const { return arguments[whole ? 0 : part]; }
};

SplitTensor splitTensor(const std::vector<PartHeads>& parts, const Napi::Value& value, const std::string& name) {
  const Napi::Env env = value.Env();
  if (!value.IsArray()) {
    TensorArgument whole = tensorArgument(parts[0].context, value, name);
    if (whole.resident) {
      throw statusError(env, QKS_E_ARGUMENT, name + " was not uploaded in parts");
    }
    return {{std::move(whole)}, true};
  }
  const Napi::Array list = value.As<Napi::Array>();
  if (list.Length() != parts.size()) {
    throw statusError(env, QKS_E_SHAPE, name + " must have one tensor for each part");
  }
  SplitTensor split{{}, false};
  for (uint32_t i = 0; i < parts.size(); i++) {
    split.arguments.push_back(tensorArgument(parts[i].context, list.Get(i), name));
    if (!split.arguments.back().resident) {
      throw statusError(env, QKS_E_ARGUMENT, name + " must have been uploaded");
    }
  }
  return split;
}

void checkPartHeads(Napi::Env env, const SplitTensor& split, size_t part, int64_t first, int64_t heads) {
  const TensorArgument& argument = split.of(part);
  if (split.whole && (first < 0 || first > argument.tensor.shape[2] - heads)) {
    throw statusError(env, QKS_E_SHAPE,
                      argument.name + " has " + std::to_string(argument.tensor.shape[2]) + " heads, part " +
                          std::to_string(part) + " ends at " + std::to_string(first + heads));
  }
}

// Heads [first, first + heads) of a tensor with data, as a view. Its shape has been checked, so where it has any rows
// the offset lies within the data.
qks_tensor headsOf(const qks_tensor& from, int64_t first, int64_t heads) {
  qks_tensor view = from;
  view.shape[2] = heads;
  if (from.shape[0] == 0 || from.shape[1] == 0 || !from.data) {
    return view;
  }
  const int64_t offset = first * from.strides[2];
  view.data = static_cast<const char*>(from.data) + offset * (from.dtype == QKS_F32 ? 4 : 2);
  view.length = from.length - offset;
  return view;
}

}  // namespace

std::shared_ptr<BatchArgument> batchArgument(Job& job, const std::shared_ptr<Context>& context,
                                             const Napi::Value& value) {
  const Napi::Env env = value.Env();
  const Napi::Object from = object(value, "batch");
  auto argument = std::make_shared<BatchArgument>();
  const TensorArgument q = tensorArgument(context, from.Get("q"), "q"), k = tensorArgument(context, from.Get("k"), "k");
  const Napi::Value terms = from.Get("terms"), labels = from.Get("labels");
  readIndices(job, terms, labels, *argument);
  const std::vector<qks_tensor> tensors = withData(job, env, {q, k});
  argument->batch.q = tensors[0];
  argument->batch.k = tensors[1];
  return argument;
}

std::vector<std::shared_ptr<BatchArgument>> batchParts(Job& job, const std::vector<PartHeads>& parts,
                                                       const Napi::Value& value) {
  const Napi::Env env = value.Env();
  const Napi::Object from = object(value, "batch");
  const SplitTensor q = splitTensor(parts, from.Get("q"), "q"), k = splitTensor(parts, from.Get("k"), "k");
  const Napi::Value terms = from.Get("terms"), labels = from.Get("labels");
  BatchArgument indices;
  readIndices(job, terms, labels, indices);
  for (size_t i = 0; i < parts.size(); i++) {
    checkPartHeads(env, q, i, parts[i].firstHead, parts[i].heads);
    checkPartHeads(env, k, i, parts[i].firstKeyHead, parts[i].keyHeads);
  }
  std::vector<TensorArgument> all = q.arguments;
  all.insert(all.end(), k.arguments.begin(), k.arguments.end());
  const std::vector<qks_tensor> tensors = withData(job, env, all);
  std::vector<std::shared_ptr<BatchArgument>> batches;
  for (size_t i = 0; i < parts.size(); i++) {
    auto argument = std::make_shared<BatchArgument>(indices);
    argument->batch.labels = argument->labels.data();
    const qks_tensor& queries = tensors[q.whole ? 0 : i];
    const qks_tensor& keys = tensors[q.arguments.size() + (k.whole ? 0 : i)];
    argument->batch.q = q.whole ? headsOf(queries, parts[i].firstHead, parts[i].heads) : queries;
    argument->batch.k = k.whole ? headsOf(keys, parts[i].firstKeyHead, parts[i].keyHeads) : keys;
    batches.push_back(std::move(argument));
  }
  return batches;
}

}  // namespace qkspace::addon
