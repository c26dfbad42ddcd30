// QKS_UNROLL before a loop: arrays stay in registers only where every index is known. QKS_ROLLED: the compiler would
// need more registers than there are.
#pragma once

#if defined(QKS_CUDA_ON_HOST)
#define QKS_UNROLL
#define QKS_ROLLED
#else
#define QKS_UNROLL _Pragma("unroll")
#define QKS_ROLLED _Pragma("unroll 1")
#endif
