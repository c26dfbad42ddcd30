// What processor and compiler this is.
#pragma once

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64) || defined(_M_IX86)
#define QKS_X86 1
#endif
#if defined(__aarch64__) || defined(_M_ARM64)
#define QKS_ARM64 1
#endif

#if defined(_MSC_VER)
#define QKS_NOINLINE __declspec(noinline)
#define QKS_INLINE static __forceinline
#else
#define QKS_NOINLINE __attribute__((noinline))
#define QKS_INLINE static inline __attribute__((always_inline))
#endif
