#!/bin/sh
# Installs the client library into a fresh prefix and builds a program outside the tree against it: by pkg-config, as C17 and
# C++17, and by find_package.  usage: consumer.sh BUILD_DIR CC
set -eu
build=${1:?usage: consumer.sh BUILD_DIR CC}
cc=${2:?usage: consumer.sh BUILD_DIR CC}
dir=$(mktemp -d "${TMPDIR:-/tmp}/sotto-consumer-XXXXXX")
trap 'rm -rf "$dir"' EXIT

cmake --install "$build" --prefix "$dir/prefix" --component client >"$dir/log" || {
  cat "$dir/log"
  exit 1
}
cat >"$dir/app.c" <<'END'
#include <sotto/client.h>
#include <stdio.h>
int main(void) {
    printf("libsotto-client %s: %s\n", sotto_client_version(), sotto_client_status_text(0));
    return 0;
}
END
pc=$(find "$dir/prefix" -name sotto-client.pc)
lib=$(dirname "$(dirname "$pc")")
flags=$(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --cflags --libs sotto-client)
# shellcheck disable=SC2086 # flags are words
"$cc" -std=c17 -Wall -Wextra -Wpedantic -Werror "$dir/app.c" -o "$dir/app" $flags
LD_LIBRARY_PATH=$lib "$dir/app"
if command -v c++ >/dev/null 2>&1; then
  cp "$dir/app.c" "$dir/app.cc"
  # shellcheck disable=SC2086
  c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror "$dir/app.cc" -o "$dir/appcc" $flags
  LD_LIBRARY_PATH=$lib "$dir/appcc"
fi

cat >"$dir/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(app C)
find_package(Sotto 0.1 REQUIRED)
add_executable(app app.c)
target_link_libraries(app PRIVATE sotto::client)
END
if ! { cmake -S "$dir" -B "$dir/out" -DCMAKE_PREFIX_PATH="$dir/prefix" -DCMAKE_C_COMPILER="$cc" &&
  cmake --build "$dir/out"; } >"$dir/log"; then
  cat "$dir/log"
  exit 1
fi
"$dir/out/app"
