#!/bin/sh
# Builds the CUDA backend for the host (see cuda_runtime.h) as the library $1.
set -e
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$(dirname "$1")"
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
compile="${CXX:-c++} -std=c++17 -O2 -g -Wall -Wextra -Werror -fPIC -fvisibility=hidden -pthread -I $root/test/cuda-on-host -I $root/native"
cd "$root"
# Objects are numbered: several folders have a file of the same name.
{
  find native/cuda native/common -name '*.cc' -o -name '*.cu'
  find test/cuda-on-host -name '*_on_host.cc'
} | nl -ba | xargs -P "$(nproc)" -L 1 sh -c "$compile -x c++ -c $root/\$1 -o $objects/\$0.o"
${CXX:-c++} -shared -pthread -o "$1.$$" "$objects"/*.o
mv "$1.$$" "$1"
