// Which GPU is used, and how it and the versions of CUDA are called.
#pragma once

#include <cuda_runtime.h>

#include <string>

namespace qkspace {

// The device of that index or UUID; the first where nothing is asked for. Failure: there is none, or it is too old.
int chooseDevice(const std::string& wanted);

// As nvidia-smi writes them: "GPU-" and 32 hexadecimal digits; "13.0".
std::string uuidText(const cudaUUID_t& uuid);
std::string versionText(int version);

}  // namespace qkspace
