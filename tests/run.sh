#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds vmpack and runs its tests; installs what is missing first. The one entry for people and for CI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
usage: tests/run.sh [--fast] [--no-sanitizers] [--no-install] [CTEST-ARGUMENT...]
  --fast           the fast tests alone, in the release build: under a minute once it is built
  --no-sanitizers  leave out the second build, in which the fast tests run under address and UB sanitizers
  --no-install     take the machine as it is
Arguments for ctest choose tests, as in: tests/run.sh -R store
USAGE
}

fast=no sanitizers=yes install=yes
while (($#)); do
  case $1 in
    --fast) fast=yes sanitizers=no ;;
    --no-sanitizers) sanitizers=no ;;
    --no-install) install=no ;;
    -h | --help) usage; exit 0 ;;
    *) break ;;
  esac
  shift
done

jobs=$(nproc)
passed=0 failed=0
summaries=()

# run_preset PRESET BUILD-TARGET [CTEST-ARGUMENT...]
run_preset() {
  local preset=$1 target=$2 log=build/$1/ctest.log closing skipped
  shift 2
  echo "== $preset: building" >&2
  cmake --preset "$preset" >"build/$preset.log" 2>&1 || { cat "build/$preset.log" >&2; return 1; }
  cmake --build --preset "$preset" --target "$target" -j "$jobs"
  echo "== $preset: testing" >&2
  ctest --preset "$preset" -j "$jobs" --no-tests=error "$@" 2>&1 | tee "$log" || true
  # "97% tests passed, 1 tests failed out of 31"
  closing=$(grep -E '^[0-9]+% tests passed, [0-9]+ tests failed out of [0-9]+' "$log") || {
    echo "tests/run.sh: ctest did not come to an end in the $preset build" >&2
    return 1
  }
  skipped=$(grep -cE '\*\*\*Skipped' "$log") || true
  local numbers
  read -ra numbers <<<"$(tr -cs '0-9' ' ' <<<"$closing")"
  failed=$((failed + numbers[1]))
  passed=$((passed + numbers[2] - numbers[1] - skipped))
  summaries+=("== $preset$( ((skipped == 0)) || echo ", $skipped skipped")" "$closing")
}

if [[ $install == yes ]]; then
  # shellcheck source=packaging/debian-packages.sh
  source packaging/debian-packages.sh
  groups=(build runtime test samples)
  [[ $fast == yes ]] || groups+=(cluster)
  ensure_packages "${groups[@]}"
fi
mkdir -p build
rm -f build/test-summary.txt

if [[ $fast == yes ]]; then
  run_preset release all -L fast "$@"
else
  run_preset release all "$@"
fi
if [[ $sanitizers == yes ]]; then
  run_preset asan-ubsan all -L fast "$@"
fi

printf '%s\n' "${summaries[@]}" "$passed passed, $failed failed" >build/test-summary.txt
echo
cat build/test-summary.txt
((failed == 0))
