// The instruction sets that the kernels were built for, and the choice between them at run time.
#pragma once

#include <string>

#include "cpu/kernels.h"

namespace qkspace {

// Null with a reason when the processor lacks what was asked for; the best one for an empty name.
const Kernels* chooseKernels(const std::string& name, std::string& reason);

// Comma-separated names of those that this processor can run.
const char* availableKernels();

}  // namespace qkspace
