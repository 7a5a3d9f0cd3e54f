#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures what a snapshot of 50 MB of changes costs on a disk of 4 GiB and on one of 256 GiB, and writes the table to
# bench/snapshots.md. Usage: bench/snapshots.sh IMAGE.raw [RUNS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ ${VMPACK_IN_NAMESPACE:-} != yes ]]; then
  VMPACK_IN_NAMESPACE=yes exec unshare --mount --propagation private -- "$0" "$@"
fi
# shellcheck source=packaging/debian-packages.sh
source packaging/debian-packages.sh
ensure_packages build runtime bench
cmake --preset release >/dev/null
cmake --build --preset release --target vmpack vmserve
exec /usr/bin/python3 bench/snapshots.py --vmpack build/release/tools/vmpack --vmserve build/release/server/vmserve \
  --out bench/snapshots.md "$@"
