#include "addon/registry.h"

#include "cpu/backend.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace qkspace::addon {
namespace {

constexpr const char* kEntry = "qkspace_backend";

#if defined(_WIN32)
void* entryOf(const std::string& library, std::string& reason) {
  HMODULE handle = LoadLibraryA(library.c_str());
  void* entry = handle ? reinterpret_cast<void*>(GetProcAddress(handle, kEntry)) : nullptr;
  if (!entry) {
    reason = library + " cannot be loaded: error " + std::to_string(GetLastError());
  }
  return entry;
}
#else
void* entryOf(const std::string& library, std::string& reason) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* entry = handle ? dlsym(handle, kEntry) : nullptr;
  if (!entry) {
    const char* error = dlerror();
    reason = error ? error : library + " has no " + kEntry;
  }
  return entry;
}
#endif

}  // namespace

const qks_backend* findBackend(const std::string& name, const std::string& library, std::string& reason) {
  if (name == "cpu") {
    return cpuBackend();
  }
  if (library.empty()) {
    reason = "the backend '" + name + "' needs the library that holds it";
    return nullptr;
  }
  void* entry = entryOf(library, reason);
  if (!entry) {
    return nullptr;
  }
  const qks_backend* backend = reinterpret_cast<qks_backend_entry>(entry)();
  if (!backend) {
    reason = library + " gives no backend";
    return nullptr;
  }
  if (backend->abi_version != QKS_ABI_VERSION || backend->struct_size != sizeof(qks_backend)) {
    reason = library + " has interface version " + std::to_string(backend->abi_version) + " (" +
             std::to_string(backend->struct_size) + " bytes), this addon needs " + std::to_string(QKS_ABI_VERSION) +
             " (" + std::to_string(sizeof(qks_backend)) + " bytes)";
    return nullptr;
  }
  return backend;
}

}  // namespace qkspace::addon
