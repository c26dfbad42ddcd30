// QKS_UNROLL before a loop: arrays stay in registers only where every index is known.
#pragma once

#if defined(QKS_CUDA_ON_HOST)
#define QKS_UNROLL
#else
#define QKS_UNROLL _Pragma("unroll")
#endif
