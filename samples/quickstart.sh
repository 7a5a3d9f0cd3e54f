#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh Debian 12 to a virtual machine that boots from a vmpack repository: installs what is missing, builds,
# makes two sample images, ingests both, serves them over NBD and boots one in QEMU.
set -euo pipefail

top=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")

usage() {
  cat <<'USAGE'
usage: samples/quickstart.sh [WORK-DIR]

WORK-DIR (build/quickstart) keeps the two images for another run and gets a new repository in each run.
As root. Takes 5 to 15 minutes the first time, all packages and the build included.
USAGE
}

# step TEXT: ends the step before, opens the next.
step() {
  local now=$SECONDS
  [[ -z $step_name ]] || printf -- '--- %s: %d s\n' "$step_name" "$((now - step_started))"
  step_name=$1 step_started=$now
  [[ -z $step_name ]] || printf '\n=== %s\n' "$step_name"
}

# run COMMAND...: shows it, then runs it.
run() {
  printf '$ %s\n' "${*/#$top\//}"
  "$@"
}

# quietly LOG COMMAND...: shows the command, and its output only if it fails.
quietly() {
  local file=$work/$1
  shift
  printf '$ %s\n' "${*/#$top\//}"
  "$@" >"$file" 2>&1 || { tail -n 40 "$file" >&2; return 1; }
}

clean_up() {
  local status=$?
  trap '' INT TERM HUP
  local child
  for child in "${children[@]}"; do
    kill "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  done
  ((status == 0)) || echo "quickstart: failed in '$step_name'; logs are in $work" >&2
  exit "$status"
}

build() {
  cd "$top"
  quietly cmake.log cmake --preset release
  quietly build.log cmake --build --preset release --target vmpack vmserve
  vmpack=$top/build/release/tools/vmpack vmserve=$top/build/release/server/vmserve
}

# Both images at once: installing packages keeps one core busy.
make_images() {
  local role
  for role in base base-rebuilt; do
    if [[ -e $work/$role.raw ]]; then
      echo "$work/$role.raw is there from an earlier run"
    else
      echo "\$ samples/build-image.sh $role $work/$role.raw"
      "$top/samples/build-image.sh" "$role" "$work/$role.raw" &
      children+=("$!")
    fi
  done
  local child
  for child in "${children[@]}"; do
    wait "$child"
  done
  children=()
}

ingest_images() {
  # Only what an earlier run made is removed.
  [[ ! -e $repository/vmpack.json ]] || rm -rf "$repository"
  run "$vmpack" init "$repository"
  run "$vmpack" ingest "$work/base.raw" base:v1
  echo
  run "$vmpack" ingest "$work/base-rebuilt.raw" base:v2
}

show_savings() {
  run "$vmpack" list
  run "$vmpack" stats
  printf 'On this disk: %d MB of images, %d MB of repository.\n' \
    "$(du -c -B 1000000 "$work/base.raw" "$work/base-rebuilt.raw" | tail -n 1 | cut -f 1)" \
    "$(du -s -B 1000000 "$repository" | cut -f 1)"
}

free_port() {
  local port
  while :; do
    port=$((RANDOM % 20000 + 10000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

# The export is named by digest, so that it stays the same disk even when the tag moves.
serve() {
  local port digest
  port=$(free_port)
  digest=$("$vmpack" show base:v1 --json | jq -er .snapshot)
  uri=nbd://127.0.0.1:$port/base@$digest
  printf '$ %s\n' "build/release/server/vmserve --repo $repository --nbd 127.0.0.1:$port &"
  "$vmserve" --repo "$repository" --nbd "127.0.0.1:$port" >"$work/vmserve.log" 2>&1 &
  children=("$!")
  local i
  for ((i = 0; i < 100; i++)); do
    nbdinfo --size "$uri" >/dev/null 2>&1 && return 0
    kill -0 "${children[0]}" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$work/vmserve.log" >&2
  echo "quickstart: vmserve does not serve $uri" >&2
  return 1
}

main() {
  case ${1:-} in -h | --help) usage; exit 0 ;; esac
  (($# <= 1)) || { usage >&2; exit 2; }
  work=$(realpath -m -- "${1:-$top/build/quickstart}")
  repository=$work/repository
  export VMPACK_REPO=$repository
  step_name='' step_started=0 children=()
  mkdir -p "$work"
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP

  step 'Install what is missing'
  run "$top/packaging/debian-packages.sh" build runtime samples
  step 'Build vmpack and vmserve'
  build
  step 'Make a bootable Debian image, and the same one rebuilt on another day'
  make_images
  step 'Ingest both'
  ingest_images
  step 'What was saved'
  show_savings
  step 'Serve the repository over NBD'
  serve
  step 'Boot the first image from it'
  run "$top/samples/boot.sh" "$uri"
  step ''
  printf '\nDone in %d s. The repository stays in %s.\n' "$SECONDS" "$repository"
}

main "$@"
