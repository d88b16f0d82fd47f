#!/bin/sh
# Memory and program sizes: bench_footprint.py says what is measured.
exec python3 -B "$(dirname "$0")/bench_footprint.py" "$@"
