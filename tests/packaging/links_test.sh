#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# vmserve links nothing that only vmpack needs, and a program that does cannot be built under that rule.
# usage: links_test.sh CMAKE COMPILER
set -euo pipefail
cmake=$1 compiler=$2
source_dir=${VMPACK_SOURCE_DIR:?run it through ctest}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
  echo "links: $*" >&2
  exit 1
}

check() {
  "$cmake" -DBINARY="$1" -P "$source_dir/packaging/cmake/check_links.cmake" >"$scratch/output" 2>&1
}

echo 'int main() {}' >"$scratch/main.cpp"
"$compiler" "$scratch/main.cpp" -o "$scratch/light"
check "$scratch/light" || fail "a program without libraries is refused: $(cat "$scratch/output")"

for library in guestfs nbd ext2fs blkid tsk fuse3; do
  "$compiler" "$scratch/main.cpp" -o "$scratch/heavy" -Wl,--no-as-needed "-l$library"
  ! check "$scratch/heavy" || fail "lib$library may be linked"
  grep -q "lib$library" "$scratch/output" || fail "the refusal does not name lib$library: $(cat "$scratch/output")"
  [[ ! -e $scratch/heavy ]] || fail "the refused program is still there, and the next build would take it"
done

check "${VMSERVE:?}" || fail "$(cat "$scratch/output")"
# Neither directly nor through another library.
ldd "$VMSERVE" >"$scratch/libraries"
! grep -E 'guestfs|libnbd|ext2fs|blkid|libtsk|fuse' "$scratch/libraries" || fail "vmserve loads what is above"
echo "links: vmserve loads $(wc -l <"$scratch/libraries") libraries, none of the image wing's"
