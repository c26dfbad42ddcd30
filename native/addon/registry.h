// Which backends there are: the one that is linked in, and those that are loaded when asked for.
#pragma once

#include <string>

#include "abi.h"

namespace qkspace::addon {

// The table of 'cpu', or of the backend in the library at `library` for another name. Null, with the reason, where
// it cannot be had. A library stays loaded.
const qks_backend* findBackend(const std::string& name, const std::string& library, std::string& reason);

}  // namespace qkspace::addon
