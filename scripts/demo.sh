#!/bin/sh
# From nothing to a report. Training takes its budget on any machine, the rest about a minute: demo.sh [FOLDER [BUDGET]]
set -eu
out=${1:-demo}
budget=${2:-5m}
mkdir -p "$out"
run() { printf '\n$ %s\n' "$*"; "$@"; }

[ -d "$out/scans" ]   || run ganatomy phantom "$out/scans" --subjects 400 --size 64 --seed 0
[ -d "$out/dataset" ] || run ganatomy prepare "$out/scans" "$out/dataset" --size 64 --domains T1
run ganatomy train "$out/dataset" "$out/run" --budget "$budget"
[ -d "$out/synthetic" ] || run ganatomy generate "$out/run" "$out/synthetic" -n 256 --seed 0
run ganatomy evaluate "$out/run"
run ganatomy report "$out/run"
printf '\nOpen %s/run/report.html in a browser.\n' "$out"
