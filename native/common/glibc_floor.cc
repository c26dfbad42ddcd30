// Lets a library that is built here load with the oldest glibc that Node 20 itself runs with, 2.28.
//
// A newer glibc gave some functions new version names: those of libpthread, libdl and librt when they moved into libc
// (2.34), hypot when its error handling changed (2.35). The linker binds to the newest name, which an older glibc does
// not have. The first names still work everywhere, so each call (also from the static C++ and CUDA libraries) is led
// by `-Wl,--wrap=NAME` to a jump of this file, which is bound to the first name. portable.cmake reads the names from
// the lines below, and the test of the packages looks at the symbols of what was built.

#include <cstdint>
#include <cstdlib>

#include <sys/random.h>

#if defined(__x86_64__)
#define FIRST_VERSION "GLIBC_2.2.5"
#define DLMOPEN_VERSION "GLIBC_2.3.4"
#define JUMP(to) "jmp " to "@PLT\n"
#elif defined(__aarch64__)
#define FIRST_VERSION "GLIBC_2.17"
#define DLMOPEN_VERSION FIRST_VERSION
#define JUMP(to) "b " to "\n"
#else
#error "glibc_floor.cc knows the version names of x86-64 and AArch64 alone"
#endif

// clang-format off: each line is a line of assembly.
#define BIND_AT(name, version)                                                                        \
  __asm__(".text\n.globl __wrap_" #name "\n.hidden __wrap_" #name "\n.type __wrap_" #name ", %function\n" \
          "__wrap_" #name ":\n" JUMP("first_" #name) ".size __wrap_" #name ", . - __wrap_" #name "\n"     \
          ".symver first_" #name ", " #name "@" version);
// clang-format on
#define BIND(name) BIND_AT(name, FIRST_VERSION)

BIND(dlclose)
BIND(dlerror)
BIND_AT(dlmopen, DLMOPEN_VERSION)
BIND(dlopen)
BIND(dlsym)
BIND(dlvsym)
BIND(hypot)
BIND(pthread_condattr_setpshared)
BIND(pthread_create)
BIND(pthread_detach)
BIND(pthread_getspecific)
BIND(pthread_join)
BIND(pthread_key_create)
BIND(pthread_key_delete)
BIND(pthread_kill)
BIND(pthread_mutex_trylock)
BIND(pthread_mutexattr_destroy)
BIND(pthread_mutexattr_init)
BIND(pthread_mutexattr_setpshared)
BIND(pthread_mutexattr_settype)
BIND(pthread_once)
BIND(pthread_rwlock_destroy)
BIND(pthread_rwlock_init)
BIND(pthread_rwlock_rdlock)
BIND(pthread_rwlock_timedrdlock)
BIND(pthread_rwlock_timedwrlock)
BIND(pthread_rwlock_tryrdlock)
BIND(pthread_rwlock_trywrlock)
BIND(pthread_rwlock_unlock)
BIND(pthread_rwlock_wrlock)
BIND(pthread_rwlockattr_destroy)
BIND(pthread_rwlockattr_init)
BIND(pthread_rwlockattr_setpshared)
BIND(pthread_setspecific)
BIND(pthread_spin_destroy)
BIND(pthread_spin_init)
BIND(pthread_spin_lock)
BIND(pthread_spin_trylock)
BIND(pthread_spin_unlock)
BIND(sem_destroy)
BIND(sem_init)
BIND(sem_post)
BIND(sem_timedwait)
BIND(sem_trywait)
BIND(sem_wait)
BIND(shm_open)
BIND(shm_unlink)

extern "C" {

// The static C++ library asks whether the process has one thread (2.32), to leave out atomic operations. Never here.
char __libc_single_threaded = 0;  // NOLINT(bugprone-reserved-identifier): glibc's name

// std::random_device of the static C++ library takes its numbers from arc4random (2.36).
// NOLINTBEGIN(bugprone-reserved-identifier): the linker's name
uint32_t __wrap_arc4random();
uint32_t __wrap_arc4random() {
  // NOLINTEND(bugprone-reserved-identifier)
  uint32_t value;
  if (getentropy(&value, sizeof value) != 0) {
    abort();
  }
  return value;
}

}  // extern "C"
