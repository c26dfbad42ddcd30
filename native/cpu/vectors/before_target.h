// Every system header that a kernel needs. It is included before a target region opens, so that nothing of the
// system is compiled for a wider instruction set: a function of theirs could be the copy that the linker keeps for
// all. Kernel headers include this one and no system header of their own.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cpu/vectors/platform.h"

#if defined(QKS_X86)
#include <immintrin.h>
#elif defined(QKS_ARM64)
#include <arm_neon.h>
#endif

#define QKS_SYSTEM_HEADERS_INCLUDED 1
