#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every fuzz target under address and UB sanitizers, with a number of random mutations in all: a million unless told
# otherwise. One in a hundred is a disk image inspected by real processes, the others are for the parsers themselves.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
usage: tests/fuzz.sh [--no-install] [EXECUTIONS]
USAGE
}

install=yes executions=1000000
while (($#)); do
  case $1 in
    --no-install) install=no ;;
    -h | --help) usage; exit 0 ;;
    *[!0-9]* | '') usage >&2; exit 2 ;;
    *) executions=$1 ;;
  esac
  shift
done
if [[ $install == yes ]]; then
  # shellcheck source=packaging/debian-packages.sh
  source packaging/debian-packages.sh
  ensure_packages build runtime test samples
fi
cmake --preset asan-ubsan >/dev/null
cmake --build --preset asan-ubsan --target fuzz_targets
mapfile -t parsers < <(find build/asan-ubsan/tests -name 'fuzz_*' -type f -executable ! -name fuzz_image | sort)
((${#parsers[@]} > 0))
images=$((executions / 100))
each=$(((executions - images + ${#parsers[@]} - 1) / ${#parsers[@]}))

# fuzz PROGRAM MUTATIONS
fuzz() {
  local name=${1##*/} started=$SECONDS
  ASAN_OPTIONS=abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 VMPACK_FUZZ_RUNS=$2 "$1" "tests/bad/${name#fuzz_}"
  echo "  $((SECONDS - started)) s"
}
for program in "${parsers[@]}"; do
  fuzz "$program" "$each"
done
fuzz build/asan-ubsan/tests/inspect/fuzz_image "$images"
echo "$((each * ${#parsers[@]} + images)) executions in $SECONDS s, none crashed, hung or took too much memory"
