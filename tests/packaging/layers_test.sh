#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every kind of include that the layers forbid is found, named, and fails; the tree as it is passes.
# usage: layers_test.sh CMAKE
set -euo pipefail
cmake=$1
source_dir=${VMPACK_SOURCE_DIR:?run it through ctest}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0

fail() {
  echo "layers: $*" >&2
  failures=$((failures + 1))
}

check() {
  "$cmake" -DROOT="$tree" -P "$source_dir/packaging/cmake/check_layers.cmake" >"$tree/output" 2>&1
}

copy_tree() {
  rm -rf "${tree:?}"/*
  cp -r "$source_dir"/{formats,libvmpack,server,tools} "$tree"
}

# forbidden FILE INCLUDE-LINE EXPECTED-WORDS: the check must fail on it and name the file and the rule.
forbidden() {
  local file=$1 line=$2 words=$3
  copy_tree
  echo "$line" >>"$tree/$file"
  if check; then
    fail "$file may have: $line"
  elif ! tr -s ' \n' ' ' <"$tree/output" | grep -q -- "$file" || ! tr -s ' \n' ' ' <"$tree/output" | grep -q -- "$words"; then
    fail "$file with $line fails without saying '$words': $(cat "$tree/output")"
  fi
}

# allowed FILE INCLUDE-LINE
allowed() {
  copy_tree
  echo "$2" >>"$tree/$1"
  check || fail "$1 may not have $2: $(cat "$tree/output")"
}

copy_tree
check || fail "the tree itself breaks the layers: $(cat "$tree/output")"

forbidden libvmpack/base/error.cpp '#include "libvmpack/store/store.hpp"' 'libvmpack/base must not include libvmpack/store'
forbidden libvmpack/store/store.hpp '#include "libvmpack/repo/repository.hpp"' 'must not include libvmpack/repo'
forbidden libvmpack/pack/frame.hpp '#include "libvmpack/snapshot/manifest.hpp"' 'must not include libvmpack/snapshot'
forbidden libvmpack/read/image_reader.hpp '#include "libvmpack/source/source.hpp"' 'must not include libvmpack/source'
forbidden libvmpack/source/source.hpp '#include "libvmpack/inspect/layout.hpp"' 'must not include libvmpack/inspect'
forbidden libvmpack/partition/plan.hpp '#include "libvmpack/store/store.hpp"' 'must not include libvmpack/store'
forbidden libvmpack/inspect/inspect.hpp '#include "tools/cli.hpp"' 'must not include tools'
forbidden server/main.cpp '#include "libvmpack/ingest/ingest.hpp"' 'server must not include libvmpack/ingest'
forbidden server/main.cpp '  #  include "libvmpack/inspect/layout.hpp"' 'server must not include libvmpack/inspect'
forbidden server/main.cpp '#include <libvmpack/source/source.hpp>' 'server must not include libvmpack/source'
forbidden tools/main.cpp '#include "server/options.hpp"' 'tools must not include server'
forbidden server/main.cpp '#include "options.hpp"' "path from the project's root"
forbidden server/main.cpp '#include "../libvmpack/base/error.hpp"' "path from the project's root"
forbidden server/main.cpp '#include <guestfs.h>' 'only libvmpack/inspect may include'
forbidden tools/main.cpp '#include <zstd.h>' 'only libvmpack/pack may include'
forbidden server/main.cpp '#include <curl/curl.h>' 'only libvmpack/store may include'
forbidden libvmpack/read/image_reader.cpp '#include <boost/asio.hpp>' 'only server may include'
forbidden libvmpack/read/image_reader.cpp '#include <fuse_lowlevel.h>' 'only tools may include'
allowed server/main.cpp '#include "libvmpack/read/image_reader.hpp"'
allowed tools/main.cpp '#include "libvmpack/ingest/ingest.hpp"'
allowed libvmpack/ingest/ingest.cpp '#include "libvmpack/read/image_reader.hpp"'

((failures == 0)) || exit 1
echo "layers: every forbidden include was found"
