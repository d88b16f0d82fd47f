#!/bin/sh
# The same experiment through Vulkan with one worker, and with four whose trainings share launches: the same digest.
#   sim_vulkan.sh SOTTO_SIM
# Skipped (77) where there is no device.
set -eu
sim=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cat >"$dir/experiment.yaml" <<'YAML'
task: {name: grouped, seed: 1}
model: {zoo: logreg}
data: {name: generator, per_writer: 25}
clients: 8
partition: {scheme: natural}
rounds: 2
cohort: 4
local: {epochs: 1, batch: 10, lr: 0.1}
YAML

digest() {
  "$sim" run "$dir/experiment.yaml" --backend vulkan --workers "$1" >"$dir/out" 2>&1 || {
    if grep -q 'no device' "$dir/out"; then
      exit 77
    fi
    cat "$dir/out" >&2
    exit 1
  }
  sed -n 's/^digest \([0-9a-f]*\).*/\1/p' "$dir/out"
}

alone=$(digest 1)
grouped=$(digest 4)
echo "alone $alone"
echo "grouped $grouped"
[ -n "$alone" ] && [ "$alone" = "$grouped" ]
