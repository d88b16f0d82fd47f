#!/bin/sh
# Rounds a second of the simulator: bench_sim.py says what is measured.
exec /usr/bin/python3 -B "$(dirname "$0")/bench_sim.py" "$@"
