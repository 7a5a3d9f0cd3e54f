#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian 12 packages that building, running, testing or measuring vmpack needs, and only those missing.
# Run it with the names of groups, or source it and call ensure_packages with them.
set -euo pipefail

declare -A vmpack_packages=(
  [build]='g++ cmake ninja-build ccache pkg-config git libcli11-dev libspdlog-dev libfmt-dev nlohmann-json3-dev
           libzstd-dev libxxhash-dev libssl-dev libflatbuffers-dev flatbuffers-compiler libnbd-dev libguestfs-dev
           libext2fs-dev libblkid-dev libtsk-dev libexpat1-dev libboost1.81-dev catch2 libtbb-dev libseccomp-dev libcap-dev
           libfuse3-dev liburcu-dev libcurl4-openssl-dev librados-dev libtomlplusplus-dev prometheus-cpp-dev'
  [runtime]='libcurl4 librados2 libtomlplusplus3 qemu-utils fuse3 gzip xz-utils zstd bzip2 nbdkit libnbd-bin libguestfs0 libguestfs-xfs
             linux-image-cloud-amd64'
  [samples]='mmdebstrap grub-pc-bin qemu-system-x86 qemu-utils e2fsprogs xfsprogs btrfs-progs lvm2 fdisk gdisk jq'
  [test]='curl openssl gnutls-bin systemd fuse3 python3 python3-libnbd python3-selenium chromium chromium-driver nbdkit libnbd-bin fio jq e2fsprogs ntfs-3g
          dosfstools mtools qemu-utils qemu-block-extra qemu-system-x86
          clang-19 clang-format-19 clang-tidy-19 libclang-rt-19-dev llvm-19 strace shellcheck xfsprogs btrfs-progs lvm2'
  [cluster]='ceph-mon ceph-mgr ceph-osd radosgw ceph-common curl iproute2 python3-libnbd libnbd-bin e2fsprogs'
  [bench]='restic borgbackup casync fio jq time ntfs-3g python3-libnbd nginx-light'
)

usage() {
  cat <<USAGE
usage: packaging/debian-packages.sh [--dry-run] GROUP...
groups: $(printf '%s\n' "${!vmpack_packages[@]}" | sort | tr '\n' ' ')all
  --dry-run   print what is missing, install nothing
USAGE
}

# Prints the packages of the given groups, each once.
packages_of() {
  local group
  for group in "$@"; do
    if [[ $group == all ]]; then
      packages_of "${!vmpack_packages[@]}"
    elif [[ -n ${vmpack_packages[$group]:-} ]]; then
      tr -s ' \n' '\n' <<<"${vmpack_packages[$group]}"
    else
      echo "debian-packages: no group '$group'; there are: ${!vmpack_packages[*]} all" >&2
      return 2
    fi
  done | sort -u
}

# Prints those of the given packages that are not installed. Any Debian kernel will do for the libguestfs appliance,
# so a machine that has one is not given a second.
missing_of() {
  local status package
  local -A installed=()
  while read -r status package; do
    [[ $status == installed ]] || continue
    installed[$package]=yes
    [[ $package == linux-image-* ]] && installed[linux-image-cloud-amd64]=yes
  done < <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 'linux-image-[0-9]*' 2>/dev/null)
  for package in "$@"; do
    [[ -n ${installed[$package]:-} ]] || echo "$package"
  done
}

apt_get() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 -o APT::Color=0 "$@"
}

# The package lists have a lock of their own, for which apt-get does not wait. Lists that fail to update are reported
# by the installation, if they mattered to it.
refresh_lists() {
  local attempt
  for attempt in 1 2 3 4 5; do
    apt_get update && return 0
    sleep "$attempt"
  done
}

install_packages() {
  local log
  log=$(mktemp)
  # On a machine that no boot loader starts (a container, a micro VM) an initial RAM disk is of no use, and making one
  # is what fails there.
  local -x INITRD=${INITRD:-}
  [[ -e /boot/grub/grub.cfg || -d /boot/loader || -d /boot/efi/EFI ]] || INITRD=No
  refresh_lists >"$log" 2>&1 || true
  if ! apt_get install -y --no-install-recommends "$@" >>"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    echo "debian-packages: apt-get could not install: $* (all of its output: $log)" >&2
    return 1
  fi
  rm -f "$log"
}

# Installs what the groups lack. Needs root only if something is missing.
ensure_packages() {
  local names packages missing
  names=$(packages_of "$@") || return
  mapfile -t packages <<<"$names"
  mapfile -t missing < <(missing_of "${packages[@]}")
  ((${#missing[@]})) || return 0
  if [[ ${dry_run:-no} == yes ]]; then
    printf '%s\n' "${missing[@]}"
    return 0
  fi
  if ((EUID != 0)); then
    echo "debian-packages: not root, and these packages are missing: ${missing[*]}" >&2
    return 1
  fi
  echo "installing ${#missing[@]} packages: ${missing[*]}" >&2
  install_packages "${missing[@]}"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  case ${1:-} in
    '') usage >&2; exit 2 ;;
    -h | --help) usage; exit 0 ;;
    --dry-run) dry_run=yes; shift ;;
  esac
  ensure_packages "$@"
fi
