#!/bin/sh
# Unpacks what lies beside this script into a temporary folder, and runs it there:
#
#   run.sh test|sanitize|bench RESULTS [options]
#
# RESULTS is the folder that results are written to; options are those of test:gpu and bench:gpu. 'sanitize' runs every
# kernel in a small case; 'sanitize RESULTS --whole' all tests.
set -eu
if [ $# -lt 2 ]; then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
what=$1
mkdir -p "$2"
results=$(cd "$2" && pwd)
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if command -v xz >/dev/null; then
  xz -dc "$here/qkspace-gpu.tar.xz" | tar -xf - -C "$work"
else
  python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$here/qkspace-gpu.tar.xz" "$work"
fi
PATH="$work/bin:$PATH"
export PATH
case $what in
  test) node "$work/scripts/gpu/test.mjs" --results "$results" "$@" ;;
  sanitize) node "$work/scripts/gpu/test.mjs" --sanitize --results "$results" "$@" ;;
  bench) node "$work/bench/gpu/run.mjs" --results "$results" "$@" ;;
  *)
    echo "'$what' is none of test, sanitize, bench" >&2
    exit 2
    ;;
esac
