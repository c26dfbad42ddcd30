# On Linux with glibc, the C++ library goes into ours where its static form is installed, and functions of glibc are
# called by their first version names (native/common/glibc_floor.cc): what is built here runs wherever Node 20 does.
include(CheckCXXSourceCompiles)
set(QKSPACE_PORTABLE OFF)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|aarch64|arm64)$")
  set(CMAKE_REQUIRED_LINK_OPTIONS -static-libstdc++)
  check_cxx_source_compiles("
    #include <string>
    #ifndef __GLIBC__
    #error not glibc
    #endif
    int main() { return static_cast<int>(std::string(\"static\").size()); }" QKSPACE_STATIC_CXX_LIBRARY)
  unset(CMAKE_REQUIRED_LINK_OPTIONS)
  set(QKSPACE_PORTABLE ${QKSPACE_STATIC_CXX_LIBRARY})
endif()
if(QKSPACE_SANITIZE)
  # Sanitizers replace functions of glibc by their names, without versions.
  set(QKSPACE_PORTABLE OFF)
endif()

# Makes a library load with an old glibc, if it can be built so.
function(qkspace_make_portable target)
  if(NOT QKSPACE_PORTABLE)
    return()
  endif()
  set(source native/common/glibc_floor.cc)
  file(STRINGS ${source} names REGEX "^BIND")
  list(TRANSFORM names REPLACE "^BIND(_AT)?\\(([a-z0-9_]+).*" "-Wl,--wrap=\\2")
  target_sources(${target} PRIVATE ${source})
  # libgcc stays shared: every Node brings it, and its static form asks for glibc 2.35.
  target_link_options(${target} PRIVATE -static-libstdc++ -Wl,--wrap=arc4random ${names})
endfunction()
