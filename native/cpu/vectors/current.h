// The vectors of the instruction set that is being compiled: VF (W floats), VD (W / 2 doubles), MR (query columns of a
// panel) and their operations. A source in cpu/isa names its set before it includes a kernel; without a name it is the
// least that the processor is known to have.
#pragma once

#include "cpu/vectors/platform.h"

#if defined(QKS_VECTORS_AVX512)
#include "cpu/vectors/avx512.h"
#elif defined(QKS_VECTORS_AVX2)
#include "cpu/vectors/avx2.h"
#elif defined(QKS_VECTORS_NEON)
#include "cpu/vectors/neon.h"
#elif defined(QKS_X86)
#include "cpu/vectors/sse2.h"
#else
#include "cpu/vectors/plain.h"
#endif
