// Failure inside the backend: thrown as a Failure, turned into a status at the C boundary by `guarded`.
#pragma once

#include <cstdint>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "abi.h"

namespace qkspace {

struct Failure {
  int32_t status;
  std::string message;
};

[[noreturn]] inline void fail(int32_t status, std::string message) { throw Failure{status, std::move(message)}; }

inline int32_t report(qks_error* error, int32_t status, const char* message) {
  if (error) {
    error->status = status;
    std::snprintf(error->message, sizeof error->message, "%s", message);
  }
  return status;
}

template <typename Body>
int32_t guarded(qks_error* error, Body&& body) {
  try {
    body();
    return QKS_OK;
  } catch (const Failure& failure) {
    return report(error, failure.status, failure.message.c_str());
  } catch (const std::bad_alloc&) {
    return report(error, QKS_E_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& exception) {
    return report(error, QKS_E_INTERNAL, exception.what());
  } catch (...) {
    return report(error, QKS_E_INTERNAL, "unknown failure in the backend");
  }
}

inline bool cancelled(const qks_cancel* cancel) { return cancel && cancel->poll && cancel->poll(cancel->user) != 0; }

inline void stopIfCancelled(const qks_cancel* cancel) {
  if (cancelled(cancel)) {
    fail(QKS_E_ABORTED, "the operation was aborted");
  }
}

// To be asked once, before the sums of a batch join: has it been cancelled, or has another part of it failed?
inline void stopUnlessAgreed(const qks_cancel* cancel) {
  stopIfCancelled(cancel);
  if (cancel && cancel->agree && cancel->agree(cancel->user) != 0) {
    fail(QKS_E_ABORTED, "another part of the batch failed");
  }
}

}  // namespace qkspace
