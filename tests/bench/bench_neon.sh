#!/bin/bash
# Instructions a multiply-accumulate of the NEON kernels, counted under an emulated cortex-a76, beside the tile's ideal and
# Debian's OpenBLAS for arm64.  usage: bench_neon.sh [--json] [--cpu NAME]
set -euo pipefail
cd "$(dirname "$0")/../.."

script/bootstrap --arm64-bench
mkdir -p build
cmake --preset arm64 >build/arm64.configure.log 2>&1 || {
  cat build/arm64.configure.log >&2
  exit 1
}
cmake --build build/arm64 --target neon_count -- -j"${JOBS:-$(nproc)}" >build/arm64.build.log 2>&1 || {
  grep -E 'error|FAILED|undefined' build/arm64.build.log | head -40 >&2
  exit 1
}
exec python3 -B tests/bench/bench_neon.py --plugin build/release/bench/libtcg_count.so --program build/arm64/bench/neon_count \
  --sysroot build/arm64-sysroot "$@"
