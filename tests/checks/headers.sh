#!/bin/sh
# Compiles every public header alone as C17, and the client's also as C++17.  usage: headers.sh SOURCE_DIR CC PB_DIR
# PB_DIR holds the generated sotto.pb.h.
set -eu
root=${1:?usage: headers.sh SOURCE_DIR CC PB_DIR}
cc=${2:?usage: headers.sh SOURCE_DIR CC PB_DIR}
pb=${3:?usage: headers.sh SOURCE_DIR CC PB_DIR}
cd "$root"
dirs=$(find . -path './build*' -prune -o -path ./.git -prune -o -type d -name include -print)
flags="-isystem $pb -isystem /usr/include/nanopb"
for dir in $dirs; do
  flags="$flags -I$dir"
done
count=0
bad=0
# shellcheck disable=SC2086 # folders are words
for header in $(find $dirs -name '*.h' | LC_ALL=C sort); do
  count=$((count + 1))
  # shellcheck disable=SC2086 # flags are words
  if ! printf '#include "%s"\n' "${header#*/include/}" |
    $cc -std=c17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only $flags -x c -; then
    echo "$header: does not compile alone as C17"
    bad=$((bad + 1))
  fi
done
cxx=
for name in c++ g++ clang++; do
  if command -v "$name" >/dev/null 2>&1; then
    cxx=$name
    break
  fi
done
if [ -z "$cxx" ]; then
  echo "no C++ compiler: the client's header was not tried as C++17"
elif [ -f client/include/sotto/client.h ]; then
  if ! printf '#include "sotto/client.h"\n' |
    "$cxx" -std=c++17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -Iclient/include -x c++ -; then
    echo "client/include/sotto/client.h: does not compile alone as C++17"
    bad=$((bad + 1))
  fi
fi
echo "$count headers, $bad that do not stand alone"
[ "$bad" -eq 0 ] && [ "$count" -gt 0 ]
