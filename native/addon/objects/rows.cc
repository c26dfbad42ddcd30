#include "addon/objects/rows.h"

#include <utility>

#include "addon/arguments.h"
#include "addon/environment.h"
#include "addon/errors.h"
#include "addon/handles.h"
#include "common/batch.h"

namespace qkspace::addon {
namespace {

napi_typedarray_type typeOf(int32_t dtype) { return dtype == QKS_F32 ? napi_float32_array : napi_uint16_array; }

// Refuses a shape that the data does not have, before any of it is taken.
void checkShape(const TensorArgument& argument) {
  qks_tensor tensor = argument.tensor;
  const Array data = peek(argument.data, typeOf(tensor.dtype), argument.name + ".data");
  tensor.data = data.data;
  tensor.length = data.length;
  checkTensor(tensor, tensor.shape[2], tensor.shape[3], argument.name.c_str());
}

}  // namespace

TensorArgument tensorArgument(const std::shared_ptr<Context>& context, const Napi::Value& value,
                              const std::string& name) {
  const Napi::Env env = value.Env();
  const Napi::Object from = object(value, name);
  TensorArgument argument;
  argument.name = name;
  const Napi::Value rows = from.Get("rows");
  if (!rows.IsUndefined()) {
    argument.resident = objectAt<Rows>(rows);
    if (argument.resident->context != context) {
      throw statusError(env, QKS_E_ARGUMENT, name + " was uploaded to another backend");
    }
    argument.tensor = argument.resident->shape;
    argument.tensor.rows = argument.resident->rows;
    return argument;
  }
  qks_tensor& t = argument.tensor;
  t.dtype = smallInteger(from.Get("dtype"), name + ".dtype");
  if (t.dtype != QKS_F32 && t.dtype != QKS_F16 && t.dtype != QKS_BF16) {
    throw statusError(env, QKS_E_ARGUMENT, name + ": unknown dtype " + std::to_string(t.dtype));
  }
  const Napi::Object shape = object(from.Get("shape"), name + ".shape"),
                     strides = object(from.Get("strides"), name + ".strides");
  for (uint32_t i = 0; i < 4; i++) {
    t.shape[i] = integer(shape.Get(i), name + ".shape");
    t.strides[i] = integer(strides.Get(i), name + ".strides");
  }
  argument.data = from.Get("data");
  argument.transfer = flag(from.Get("transfer"), name + ".transfer");
  return argument;
}

std::vector<qks_tensor> withData(Job& job, Napi::Env env, const std::vector<TensorArgument>& arguments) {
  std::vector<Napi::Value> given;
  for (const TensorArgument& argument : arguments) {
    if (argument.resident) {
      continue;
    }
    checkShape(argument);
    if (argument.transfer && !isShared(argument.data)) {
      given.push_back(argument.data);
    }
  }
  const std::vector<Napi::Value> moved = given.empty() ? given : environmentOf(env).builtins.moved(env, given);
  size_t next = 0;
  std::vector<qks_tensor> tensors;
  for (const TensorArgument& argument : arguments) {
    qks_tensor tensor = argument.tensor;
    if (argument.resident) {
      job.kept.push_back(argument.resident);
      tensors.push_back(tensor);
      continue;
    }
    const std::string name = argument.name + ".data";
    const bool isMoved = argument.transfer && !moved.empty() && !isShared(argument.data);
    const Array data = isMoved ? inPlace(job, moved[next++], typeOf(tensor.dtype), name)
                               : copied(job, argument.data, typeOf(tensor.dtype), name);
    tensor.data = data.data;
    tensor.length = data.length;
    tensors.push_back(tensor);
  }
  return tensors;
}

Napi::Value rowsUpload(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto job = newJob(info[0]);
  const auto rows = std::make_shared<Rows>();
  rows->context = objectAt<Context>(info[1]);
  const TensorArgument argument = tensorArgument(rows->context, info[2], "tensor");
  if (argument.resident) {
    throw statusError(env, QKS_E_ARGUMENT, "tensor has been uploaded already");
  }
  const qks_tensor tensor = withData(*job, env, {argument})[0];
  rows->shape = argument.tensor;
  job->run = [rows, tensor](const qks_cancel* cancel, qks_error* error) {
    return rows->context->backend->rows_upload(rows->context->handle, &tensor, cancel, &rows->rows, error);
  };
  job->result = [rows](Napi::Env resultEnv) -> Napi::Value { return newHandle(resultEnv, rows, 0); };
  return environmentOf(env).submit(*rows->context, std::move(job));
}

Napi::Value rowsRelease(const Napi::CallbackInfo& info) {
  handleAt<Rows>(info[0]).dispose(info.Env());
  return info.Env().Undefined();
}

}  // namespace qkspace::addon
