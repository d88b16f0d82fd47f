#!/bin/sh
# A million registered devices: bench_fleet.py says what is measured.
exec /usr/bin/python3 -B "$(dirname "$0")/bench_fleet.py" "$@"
