#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes a disk image with one NTFS partition that holds the files of another image's largest partition.
# Usage: bench/ntfs_copy.sh IMAGE.raw OUT.raw
set -euo pipefail

# Mounts live in a namespace of our own, and loop devices free themselves when they are unmounted.
if [[ ${VMPACK_IN_NAMESPACE:-} != yes ]]; then
  VMPACK_IN_NAMESPACE=yes exec unshare --mount --propagation private -- "$0" "$@"
fi
(($# == 2)) || { echo 'usage: bench/ntfs_copy.sh IMAGE.raw OUT.raw' >&2; exit 2; }
image=$1 out=$2
work=$(mktemp -d -p "$(dirname "$out")" .ntfs-copy.XXXXXX)
target=''
clean_up() {
  local status=$?
  ! mountpoint -q "$work/to" || umount "$work/to"
  ! mountpoint -q "$work/from" || umount "$work/from"
  [[ -z $target ]] || losetup -d "$target" 2>/dev/null || true
  rm -rf --one-file-system "$work"
  exit "$status"
}
trap clean_up EXIT
mkdir "$work/from" "$work/to"

read -r start sectors < <(sfdisk --json "$image" |
  jq -r '.partitiontable.partitions | max_by(.size) | "\(.start) \(.size)"')
mount -o "ro,noload,loop,offset=$((start * 512)),sizelimit=$((sectors * 512))" "$image" "$work/from"

truncate -s "$(stat -c %s "$image")" "$work/disk"
echo '2048,,7' | sfdisk -q "$work/disk"
target=$(losetup --show -f -o $((2048 * 512)) "$work/disk")
mkntfs -q -Q -L files "$target"
ntfs-3g -o permissions "$target" "$work/to"
# Devices and sockets have no place there.
tar -C "$work/from" --one-file-system --exclude ./dev -c . | tar -C "$work/to" -x
umount "$work/to"
losetup -d "$target"
target=''
mv "$work/disk" "$out"
