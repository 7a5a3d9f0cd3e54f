#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What collecting garbage takes on a family of images; writes bench/gc.md. Images: raw files of different names.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=packaging/debian-packages.sh
source packaging/debian-packages.sh
[[ $# -gt 0 ]] || { echo "usage: bench/gc.sh IMAGE.raw..." >&2; exit 2; }
ensure_packages build runtime
cmake --preset release >/dev/null
cmake --build --preset release --target vmpack
exec python3 bench/gc.py --vmpack build/release/tools/vmpack --out bench/gc.md "$@"
