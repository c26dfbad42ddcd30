// The cpu backend, as the addon sees it.
#pragma once

#include "abi.h"

namespace qkspace {

const qks_backend* cpuBackend();

}  // namespace qkspace
