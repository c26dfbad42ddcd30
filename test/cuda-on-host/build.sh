#!/bin/sh
# Builds the CUDA backend for the host (see cuda_runtime.h) as the library $1.
set -e
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$(dirname "$1")"
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
compile="${CXX:-c++} -std=c++17 -O2 -g -Wall -Wextra -Werror -fPIC -fvisibility=hidden -pthread -I $root/test/cuda-on-host -I $root/native"
for source in "$root"/native/cuda/*.cc "$root"/native/cuda/*.cu "$root"/native/common/*.cc "$root"/test/cuda-on-host/*_on_host.cc; do
  echo "$source"
done | xargs -P "$(nproc)" -I FILE sh -c "$compile -x c++ -c FILE -o $objects/\$(basename FILE).o"
${CXX:-c++} -shared -pthread -o "$1.$$" "$objects"/*.o
mv "$1.$$" "$1"
