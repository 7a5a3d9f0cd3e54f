#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs a build tree, and builds and runs a program elsewhere that finds it with find_package(vmpack).
# usage: install_and_use.sh BUILD-TREE COMPILER [FLAGS]
set -euo pipefail
build=$1 compiler=$2 flags=${3:-}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
  echo "consumer: $*" >&2
  exit 1
}

# Once as a user installs it, and once as a packager does; then the packager's copy is used, which lies elsewhere than
# it was installed for.
cmake --install "$build" --prefix "$scratch/prefix" >"$scratch/log" || fail "cmake --install: $(cat "$scratch/log")"
DESTDIR="$scratch/stage" cmake --install "$build" --prefix /usr >"$scratch/log" || fail "DESTDIR: $(cat "$scratch/log")"
diff <(cd "$scratch/prefix" && find . -type f | sort) <(cd "$scratch/stage/usr" && find . -type f | sort) ||
  fail "--prefix and DESTDIR install different files"
[[ $(cd "$scratch/stage" && echo *) == usr ]] || fail "DESTDIR was not kept to"

for program in vmpack vmserve; do
  [[ -x $scratch/prefix/bin/$program ]] || fail "$program is not installed"
  "$scratch/prefix/bin/$program" --version || fail "$program does not start from where it was installed"
done

package=$(dirname "$(find "$scratch/stage/usr" -name vmpackConfig.cmake)")
for word in vmpack_flags vmpack_formats Werror "$build" "$scratch"; do
  ! grep -rn -e "$word" "$package" || fail "the exported package mentions $word"
done

# Every installed header compiles by itself, with what the package brings and nothing else.
{
  cd "$scratch/stage/usr/include"
  find libvmpack -name '*.hpp' | sort | sed 's/.*/#include "&"/'
} >"$scratch/all_headers.inc"
[[ $(wc -l <"$scratch/all_headers.inc") -gt 20 ]] || fail "hardly any headers are installed"

cmake -S "$here/project" -B "$scratch/build" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_CXX_FLAGS="$flags" -DCMAKE_PREFIX_PATH="$scratch/stage/usr" -DALL_HEADERS="$scratch/all_headers.inc" \
  >"$scratch/log" 2>&1 || fail "find_package(vmpack): $(cat "$scratch/log")"
cmake --build "$scratch/build" >"$scratch/log" 2>&1 || fail "build: $(tail -n 40 "$scratch/log")"
"$scratch/build/consumer" "$scratch/repo"
