#!/bin/sh
# The include checker must see what it is there for: a small house with one forbidden arrow of each kind.
# usage: includes_test.sh CHECKS_DIR
set -eu
checks=${1:?usage: includes_test.sh CHECKS_DIR}
house=$(mktemp -d "${TMPDIR:-/tmp}/sotto-house-XXXXXX")
trap 'rm -rf "$house"' EXIT

# reset: a house in order.
reset() {
  rm -rf "${house:?}"/*
  for room in base kernels model privacy protocol client coordinator sim; do
    mkdir -p "$house/$room/include/sotto" "$house/$room/src"
    echo '/* x */' >"$house/$room/include/sotto/$room.h"
    printf '#include "sotto/%s.h"\n#include "sotto/base.h"\n' "$room" >"$house/$room/src/a.c"
  done
}

# refused FILE LINE: with this line in this file the check must fail.
refused() {
  reset
  mkdir -p "$house/$(dirname "$1")"
  printf '%s\n' "$2" >>"$house/$1"
  if "$checks/includes.sh" "$house" >"$house/out"; then
    echo "not noticed: $2 in $1"
    exit 1
  fi
  grep -q "^$1:" "$house/out"
}

reset
"$checks/includes.sh" "$house"
refused client/src/a.c '#include "sotto/coordinator.h"'
refused coordinator/src/a.c '#include "sotto/client.h"'
refused kernels/src/a.c '#include "sotto/model.h"'
refused base/src/a.c '  #  include "sotto/kernels.h"'
refused privacy/src/a.c '#include "sotto/protocol.h"'
refused protocol/src/a.c '#include "sotto/model.h"'
refused model/src/a.c '#include <sys/socket.h>'
refused model/src/a.c '#include <sqlite3.h>'
refused coordinator/round/a.c '#include <sqlite3.h>'
refused client/src/a.c '#include <zmq.h>'
refused client/src/a.c '#include "../coordinator/src/a.h"'
refused client/src/a.c '#include "coordinator/src/a.h"'
refused sim/src/a.c '#include "sotto/nothing.h"'
reset
mkdir -p "$house/coordinator/store"
echo '#include <sqlite3.h>' >"$house/coordinator/store/store_x.c"
echo '#include "sotto/coordinator.h"' >>"$house/sim/src/a.c"
"$checks/includes.sh" "$house"
echo "every forbidden arrow was noticed"
