#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures vmpack beside restic, borg, casync and qemu-img on an image, a copy and a rebuild of it, interleaved, and writes
# the table to bench/results.md. Usage: bench/compare.sh IMAGE.raw REBUILD.raw [RUNS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=packaging/debian-packages.sh
source packaging/debian-packages.sh
ensure_packages build runtime bench
cmake --preset release >/dev/null
cmake --build --preset release --target vmpack
exec python3 bench/compare.py --vmpack build/release/tools/vmpack --out bench/results.md "$@"
