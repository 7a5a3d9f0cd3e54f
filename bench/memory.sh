#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shows that an ingest's memory does not grow with the image: stores an image of the family, then a disk of 64 GiB whose
# ext4 holds all images of the family as files, and the files of one. Writes bench/memory.md.
# Usage: bench/memory.sh [IMAGES-DIR] (as for bench/family.sh, which makes the images)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ ${VMPACK_IN_NAMESPACE:-} != yes ]]; then
  VMPACK_IN_NAMESPACE=yes exec unshare --mount --propagation private -- "$0" "$@"
fi
# shellcheck source=packaging/debian-packages.sh
source packaging/debian-packages.sh
ensure_packages build runtime bench
images=$(realpath -- "${1:-build/family}")
cmake --preset release >/dev/null
cmake --build --preset release --target vmpack

work=$(mktemp -d -p "${TMPDIR:-/var/tmp}" vmpack-memory.XXXXXX)
clean_up() {
  local status=$?
  ! mountpoint -q "$work/to" || umount "$work/to"
  ! mountpoint -q "$work/from" || umount "$work/from"
  rm -rf --one-file-system "$work"
  exit "$status"
}
trap clean_up EXIT
mkdir "$work/from" "$work/to"
truncate -s 64G "$work/big.raw"
mkfs.ext4 -q -F "$work/big.raw"
mount -o loop "$work/big.raw" "$work/to"
cp --sparse=always "$images"/{base,base-rebuilt,web,db,dev,next}.raw "$work/to"
read -r start sectors < <(sfdisk --json "$images/dev.raw" |
  jq -r '.partitiontable.partitions | max_by(.size) | "\(.start) \(.size)"')
mount -o "ro,noload,loop,offset=$((start * 512)),sizelimit=$((sectors * 512))" "$images/dev.raw" "$work/from"
cp -a "$work/from" "$work/to/dev"
umount "$work/from"
umount "$work/to"
python3 bench/memory.py --vmpack build/release/tools/vmpack --out bench/memory.md "$images/base.raw" "$work/big.raw"
