// What the addon throws and rejects with: TypeErrors for arguments of the wrong type, Errors with a stable code else.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>

namespace qkspace::addon {

// The stable code of a status of abi.h, 'ERR_...'.
const char* codeOf(int32_t status);

// An Error with the code of that status.
Napi::Error statusError(Napi::Env env, int32_t status, const std::string& message);

}  // namespace qkspace::addon
