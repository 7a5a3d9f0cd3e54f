#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# with_cluster.sh DIR COMMAND...: runs a command that finds the cluster of ceph.sh in its environment. Exit code 77 where
# there is none.
set -euo pipefail
[[ -e $1/env ]] || { echo "no cluster runs in $1" >&2; exit 77; }
# shellcheck source=/dev/null
source "$1/env"
exec "${@:2}"
