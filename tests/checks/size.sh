#!/bin/sh
# Fails when a program, stripped, is larger than a limit.  usage: size.sh STRIP PROGRAM BYTES
set -eu
: "${3:?usage: size.sh STRIP PROGRAM BYTES}"
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$1" -o "$out" "$2"
size=$(wc -c <"$out")
echo "$2: $size bytes stripped, at most $3 are allowed"
[ "$size" -le "$3" ]
