// The numbers of abi.h that TypeScript has too; lib/backend/load.ts compares them when the addon is loaded.
#pragma once

#include <napi.h>

namespace qkspace::addon {

Napi::Object constants(Napi::Env env);

}  // namespace qkspace::addon
