// Opens a region compiled for the instruction set named by QKS_TARGET; target_end.h closes it.
// MSVC needs nothing: it accepts every intrinsic everywhere.
#if !defined(QKS_SYSTEM_HEADERS_INCLUDED)
#error "include cpu/vectors/before_target.h before a target region"
#endif
#define QKS_PRAGMA_(text) _Pragma(#text)
#define QKS_PRAGMA(text) QKS_PRAGMA_(text)
#if defined(__clang__)
QKS_PRAGMA(clang attribute push(__attribute__((target(QKS_TARGET))), apply_to = function))
#elif defined(__GNUC__)
#pragma GCC push_options
QKS_PRAGMA(GCC target(QKS_TARGET))
#endif
