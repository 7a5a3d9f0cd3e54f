#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the family of sample images (base, its rebuild, web, db, dev, the next release; web once more on XFS, btrfs, LVM
# and NTFS) where they are missing, stores them one after the other with vmpack, restic and borg, and writes what each
# added to bench/family.md.
# Usage: bench/family.sh [IMAGES-DIR]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=packaging/debian-packages.sh
source packaging/debian-packages.sh
ensure_packages build runtime samples bench
images=$(realpath -m -- "${1:-build/family}")
mkdir -p "$images"
roles=(base base-rebuilt web db dev next)
paths=()
for role in "${roles[@]}"; do
  [[ -e $images/$role.raw ]] || samples/build-image.sh "$role" "$images/$role.raw"
  paths+=("$images/$role.raw")
done
file_systems=("$images/web.raw")
for kind in xfs btrfs lvm; do
  [[ -e $images/web-$kind.raw ]] || samples/build-image.sh --fs "$kind" web "$images/web-$kind.raw"
  file_systems+=("$images/web-$kind.raw")
done
[[ -e $images/web-ntfs.raw ]] || bench/ntfs_copy.sh "$images/web.raw" "$images/web-ntfs.raw"
file_systems+=("$images/web-ntfs.raw")
cmake --preset release >/dev/null
cmake --build --preset release --target vmpack
exec python3 bench/family.py --vmpack build/release/tools/vmpack --out bench/family.md \
  --file-systems "${file_systems[@]}" -- "${paths[@]}"
