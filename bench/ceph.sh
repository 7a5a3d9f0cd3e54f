#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures on a real Ceph cluster (tests/cluster/ceph.sh, this machine alone): cold reads of 64 KiB by RADOS and by the S3
# gateway, and what an ingest into the gateway costs its machine beside one into a folder. Writes bench/ceph.md.
# Usage: bench/ceph.sh IMAGE.raw (as bench/family.sh makes them)
set -euo pipefail
[[ $# == 1 && -r $1 ]] || { echo "usage: bench/ceph.sh IMAGE.raw" >&2; exit 2; }
image=$(realpath -- "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=packaging/debian-packages.sh
source packaging/debian-packages.sh
ensure_packages build runtime cluster
cmake --preset release >/dev/null
cmake --build --preset release --target vmpack vmpack-store-reads

cluster=$(mktemp -d -u -t vmpack-bench-ceph.XXXXXX)
trap 'tests/cluster/ceph.sh stop "$cluster"' EXIT
tests/cluster/ceph.sh start "$cluster"
tests/cluster/with_cluster.sh "$cluster" python3 bench/ceph.py --vmpack build/release/tools/vmpack \
  --store-reads build/release/bench/vmpack-store-reads --out bench/ceph.md "$image"
