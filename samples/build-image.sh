#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds a bootable Debian disk image from Debian's packages, with the residue that real builds leave in free space.
# The roles are a family: most of their bytes are the same, at other places.
set -euo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
roles='base base-rebuilt web db dev next'
root_password=vmpack

usage() {
  cat <<USAGE
usage: samples/build-image.sh [OPTION]... ROLE OUT

Roles:
  base           a small general server
  base-rebuilt   base built on another day: security updates, a few more packages and changed files, other
                 identifiers and places on the disk
  web            base with nginx, PHP and a static site
  db             base with PostgreSQL and a filled database
  dev            base with compilers, debuggers, git and Python
  next           base of the next Debian release

OUT is a raw image, or a compressed qcow2 if its name ends in .qcow2. It appears only when complete.

Options:
  --size SIZE        size of the disk, e.g. 4G (3G, dev 4G)
  --table gpt|mbr    partition table (gpt)
  --fs KIND          where the root file system is: ext4 (default), xfs or btrfs (in a subvolume) in a partition, or
                     lvm (ext4 in a logical volume, beside one for swap)
  --seed TEXT        makes the disk's, file system's and machine's identifiers depend on TEXT and ROLE alone
  --keep-log FILE    keeps the installation's output

The guest has a login on the serial console ttyS0: root, password "$root_password".
Packages come from this machine's own apt sources and are kept in \${VMPACK_CACHE:-/var/cache/vmpack-samples}.
USAGE
}

die() {
  echo "build-image: $*" >&2
  exit 1
}

wrong_usage() {
  echo "build-image: $* (see --help)" >&2
  exit 2
}

say() {
  printf '%s: %s (%d s)\n' "$role" "$*" "$SECONDS" >&2
}

parse_arguments() {
  local positional=()
  size='' table=gpt fs=ext4 seed='' keep_log=''
  while (($#)); do
    case $1 in
      -h | --help) usage; exit 0 ;;
      --size | --table | --fs | --seed | --keep-log)
        (($# > 1)) || wrong_usage "$1 needs a value"
        local name=${1#--}
        printf -v "${name//-/_}" %s "$2"
        shift ;;
      -*) wrong_usage "no option $1" ;;
      *) positional+=("$1") ;;
    esac
    shift
  done
  ((${#positional[@]} == 2)) || wrong_usage 'ROLE and OUT are needed'
  role=${positional[0]} out=${positional[1]}
}

check_arguments() {
  [[ " $roles " == *" $role "* ]] || wrong_usage "no role '$role'; there are: $roles"
  [[ $table == gpt || $table == mbr ]] || wrong_usage "no partition table '$table'; there are: gpt mbr"
  [[ $fs =~ ^(ext4|xfs|btrfs|lvm)$ ]] || wrong_usage "no root file system '$fs'; there are: ext4 xfs btrfs lvm"
  case $role in dev) : "${size:=4G}" ;; *) : "${size:=3G}" ;; esac
  disk_bytes=$(numfmt --from=iec "$size" 2>/dev/null) || wrong_usage "'$size' is not a size such as 3G"
  ((disk_bytes >= 2 << 30)) || wrong_usage "$size is too small; no role fits in less than 2G"
  [[ -d $(dirname "$out") ]] || wrong_usage "no directory $(dirname "$out")"
  ((EUID == 0)) || die 'making and mounting file systems needs root'
  [[ $(dpkg --print-architecture) == amd64 ]] || die 'the images are for amd64, and so must this machine be'
}

# Mounts live in a mount namespace of our own and loop devices free themselves at unmount, so that nothing stays
# mounted however this script ends.
enter_namespace() {
  [[ ${VMPACK_IN_NAMESPACE:-} == yes ]] && return
  VMPACK_IN_NAMESPACE=yes exec unshare --mount --propagation private -- "$0" "$@"
}

prepare_work() {
  suffix=${out##*.}
  work=$(mktemp -d -p "$(dirname "$out")" .build-image.XXXXXX)
  disk=$work/disk.raw root=$work/root log=$work/log
  installer='' loop=''
  mkdir "$root"
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

clean_up() {
  local status=$?
  trap '' INT TERM HUP
  if [[ -n $installer ]]; then
    kill -KILL "$installer" 2>/dev/null || true
    wait "$installer" 2>/dev/null || true
  fi
  mountpoint -q "$root" && { umount -R "$root" || umount -R -l "$root"; }
  [[ -z $loop ]] || losetup -d "$loop"
  if [[ -s $log ]]; then
    [[ -n $keep_log ]] && cp "$log" "$keep_log"
    ((status == 0 || status > 128)) || { echo "build-image: failed; the end of the installation's output:"; tail -n 25 "$log"; } >&2
  fi
  rm -rf --one-file-system "$work"
  exit "$status"
}

# uuid NAME: a random UUID, or with --seed one that only seed, role and NAME decide.
uuid() {
  if [[ -z $seed ]]; then
    cat /proc/sys/kernel/random/uuid
    return
  fi
  local hex
  hex=$(sha256sum <<<"$seed $role $1")
  echo "${hex:0:8}-${hex:8:4}-4${hex:13:3}-8${hex:17:3}-${hex:20:12}"
}

# What a base image has beyond Debian's essential packages.
base_packages() {
  cat <<'LIST'
    linux-image-cloud-amd64 initramfs-tools systemd-sysv systemd-timesyncd libpam-systemd dbus udev polkitd apparmor
    openssh-server sudo locales tzdata ca-certificates gnupg curl wget rsync cron logrotate rsyslog
    unattended-upgrades apt-listchanges cloud-init cloud-guest-utils qemu-guest-agent
    iproute2 iputils-ping iptables nftables bind9-dnsutils tcpdump mtr-tiny netcat-openbsd ethtool
    lsof strace htop sysstat psmisc procps e2fsprogs parted gdisk xfsprogs dosfstools zstd xz-utils bzip2 unzip zip
    vim nano less man-db manpages bash-completion tmux screen file perl python3 python3-yaml python3-requests
LIST
}

role_packages() {
  base_packages
  case $fs in
    btrfs) echo btrfs-progs ;;
    lvm) echo lvm2 ;;
  esac
  case $role in
    base | next) ;;
    base-rebuilt) echo tree pv ncdu iperf3 ;;
    web) echo nginx php-fpm php-cli php-curl php-gd php-xml php-mbstring certbot redis-server debian-handbook ;;
    db) echo postgresql postgresql-contrib pgbouncer ;;
    dev) echo build-essential gdb cmake ninja-build git clang python3-dev python3-venv python3-pip golang-go ;;
  esac
}

own_release() {
  sed -n 's/^VERSION_CODENAME=//p' /etc/os-release
}

# The Debian release that follows the given one.
release_after() {
  case $1 in
    bookworm) echo trixie ;;
    trixie) echo forky ;;
    *) die "the release after '$1' is not known to this script" ;;
  esac
}

# Prints sources.list lines for the wanted release, made from the Debian sources that this machine's apt uses.
sources_for() {
  local wanted=$1 own
  own=$(own_release)
  # shellcheck disable=SC2016 # apt-get's own placeholders
  apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    awk -v own="$own" -v wanted="$wanted" '
      $2 == own || $2 == own "-updates" || $2 == own "-security" {
        sub("^" own, wanted, $2)
        line = "deb " $1 " " $2
        if (!index(components[line] " ", " " $3 " ")) components[line] = components[line] " " $3
      }
      END { for (line in components) print line components[line] }' | sort
}

choose_release() {
  codename=$(own_release)
  [[ -n $(sources_for "$codename") ]] || apt-get -qq update
  [[ $role != next ]] || codename=$(release_after "$codename")
  sources_for "$codename" >"$work/sources.list"
  [[ -s $work/sources.list ]] || die "this machine's apt has no Debian sources to build from"
  [[ $role == next ]] || return 0
  local uri suite
  while read -r _ uri suite _; do
    /usr/lib/apt/apt-helper download-file "${uri}dists/$suite/InRelease" "$work/InRelease" >>"$log" 2>&1 ||
      die "the mirror of this machine's apt does not carry $suite"
  done <"$work/sources.list"
}

# GPT: a partition for the boot loader, then the root. MBR: the boot loader goes between the table and the root.
partition_disk() {
  truncate -s "$disk_bytes" "$disk"
  if [[ $table == gpt ]]; then
    core_lba=2048 core_sectors=2048 root_lba=4096
    root_sectors=$((disk_bytes / 512 - root_lba - 2048))
    sfdisk -q "$disk" >>"$log" 2>&1 <<TABLE
label: gpt
label-id: $(uuid disk)
start=$core_lba, size=$core_sectors, type=21686148-6449-6E6F-744E-656564454649, uuid=$(uuid core), name=bios
start=$root_lba, size=$root_sectors, type=$([[ $fs == lvm ]] && echo V || echo L), uuid=$(uuid root-partition), name=root
TABLE
  else
    core_lba=1 core_sectors=2047 root_lba=2048
    root_sectors=$((disk_bytes / 512 - root_lba))
    sfdisk -q "$disk" >>"$log" 2>&1 <<TABLE
label: dos
label-id: 0x$(uuid disk | head -c 8)
start=$root_lba, size=$root_sectors, type=$([[ $fs == lvm ]] && echo V || echo L), bootable
TABLE
  fi
}

# attach_loop OFFSET BYTES: that part of the disk as the block device $loop, until detach_loop or its last unmount.
attach_loop() {
  loop=$(losetup --find --show --offset "$1" --sizelimit "$2" "$disk")
}

detach_loop() {
  losetup -d "$loop"
  loop=''
}

# Nothing is discarded, here or later: what a build deletes stays on the disk, as it does in real images.
make_root() {
  root_uuid=$(uuid root)
  root_offset=$((root_lba * 512)) root_bytes=$((root_sectors * 512))
  kernel_root=UUID=$root_uuid fs_type=$fs boot_prefix=''
  [[ $fs != lvm ]] || make_logical_volumes
  attach_loop "$root_offset" "$root_bytes"
  case $fs in
    ext4 | lvm)
      fs_type=ext4
      mke2fs -q -t ext4 -L root -U "$root_uuid" -m 1 -O '^metadata_csum_seed,^orphan_file' \
        -E "nodiscard,hash_seed=$(uuid hash)" "$loop"
      mount -o nodiscard,barrier=0 "$loop" "$root"
      ;;
    xfs)
      mkfs.xfs -q -K -L root -m "uuid=$root_uuid" "$loop"
      mount -o nodiscard,nouuid "$loop" "$root"
      ;;
    btrfs)
      boot_prefix=/@rootfs
      mkfs.btrfs -q -K -L root -U "$root_uuid" "$loop"
      mount -o nodiscard,nobarrier "$loop" "$root"
      btrfs -q subvolume create "$root$boot_prefix"
      umount "$root"
      mount -o "nodiscard,nobarrier,subvol=$boot_prefix" "$loop" "$root"
      ;;
  esac >>"$log" 2>&1
  detach_loop
}

# A group with a logical volume for the root, one for swap, and some room. This machine's kernel may know no logical
# volumes: they are only written down, and the root is mounted where it comes to lie.
make_logical_volumes() {
  local config extent=$((4 << 20)) swap=$((64 << 20)) pe_start
  attach_loop "$root_offset" "$root_bytes"
  config="devices { filter=[\"a|^$loop\$|\",\"r|.*|\"] use_devicesfile=0 } activation { udev_sync=0 udev_rules=0 }
    backup { backup=0 archive=0 }"
  root_bytes=$(((root_bytes / extent - 9) * extent - swap))
  {
    pvcreate --config "$config" -y -u "$(uuid pv)" --norestorefile "$loop"
    vgcreate --config "$config" -y -s "${extent}b" sample "$loop"
    lvcreate --config "$config" -y -an -Zn -Wn --driverloaded n -n root -L "${root_bytes}b" sample
    lvcreate --config "$config" -y -an -Zn -Wn --driverloaded n -n swap -L "${swap}b" sample
    pe_start=$(pvs --config "$config" --noheadings --nosuffix --units b -o pe_start "$loop")
  } >>"$log" 2>&1
  detach_loop
  root_offset=$((root_offset + pe_start))
  attach_loop "$((root_offset + root_bytes))" "$swap"
  mkswap -q -L swap -U "$(uuid swap)" "$loop"
  detach_loop
  kernel_root=/dev/mapper/sample-root
}

# Puts the archives that the role's last build used (or else base's) where apt looks for them.
fill_from_cache() {
  local list=$cache/$role.list archives=$root/var/cache/apt/archives
  [[ -e $list ]] || list=$cache/base.list
  mkdir -p "$archives/partial"
  [[ -e $list ]] || return 0
  (cd "$cache" && xargs -r -d '\n' cp --no-preserve=all -t "$archives" <"$list") 2>>"$log" || true
}

# Keeps what was downloaded. Other builds may be reading and writing the cache.
save_to_cache() {
  local archive name
  for archive in "$root"/var/cache/apt/archives/*.deb; do
    name=${archive##*/}
    [[ -e $cache/$name ]] && continue
    cp "$archive" "$cache/.$name.$$" && mv "$cache/.$name.$$" "$cache/$name"
  done
  (cd "$root/var/cache/apt/archives" && printf '%s\n' *.deb) >"$cache/.$role.list.$$"
  mv "$cache/.$role.list.$$" "$cache/$role.list"
}

# The day before base-rebuilt, these had not had their latest security update. The priority is below that of the
# release, and above zero since a version that is in both must stay installable.
hold_back_updates() {
  mkdir -p "$root/etc/apt/preferences.d"
  cat >"$root/etc/apt/preferences.d/sample" <<'PREFERENCES'
Package: src:python3.11 src:expat src:jq src:xz-utils src:tcpdump src:rsync src:vim
Pin: release l=Debian-Security
Pin-Priority: 400
PREFERENCES
}

install_packages() {
  local options=(--aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"') line include
  # How this machine's apt reaches its sources holds for mmdebstrap's apt too, but does not stay in the image.
  while read -r line; do
    options+=(--aptopt="$line")
  done < <(apt-config dump | grep -E '^Acquire::(http|https|Retries|Check-|ForceIPv)' || true)
  include=$(role_packages | xargs | tr ' ' ,)
  fill_from_cache
  [[ $role == base-rebuilt ]] || hold_back_updates
  # mmdebstrap answers signals only when it is done: in a process namespace it and all it started end at once.
  setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount-proc \
    mmdebstrap --verbose --mode=root --variant=apt --format=directory --include="$include" \
    --skip=check/empty,download/empty,essential/unlink,cleanup/apt/cache,cleanup/reproducible \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --dpkgopt=force-unsafe-io \
    "${options[@]}" "$codename" "$root" "$work/sources.list" >>"$log" 2>&1 </dev/null &
  installer=$!
  wait "$installer" || die "mmdebstrap could not install $codename"
  installer=
}

# Archives reach the disk before they are deleted, or there would be no residue.
delete_archives() {
  sync -f "$root"
  save_to_cache
  find "$root/var/cache/apt/archives" -name '*.deb' -delete
  rm -f "$root"/var/cache/apt/*.bin
  rm -f "$root"/etc/apt/preferences.d/sample "$root"/etc/{apt/apt.conf.d,dpkg/dpkg.cfg.d}/99mmdebstrap
}

in_image() {
  LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" "$@" >>"$log" 2>&1 </dev/null
}

make_fstab() {
  case $fs in
    ext4) echo "$kernel_root / ext4 errors=remount-ro 0 1" ;;
    xfs) echo "$kernel_root / xfs defaults 0 0" ;;
    btrfs) echo "$kernel_root / btrfs subvol=$boot_prefix 0 0" ;;
    lvm)
      echo "$kernel_root / ext4 errors=remount-ro 0 1"
      echo '/dev/mapper/sample-swap none swap sw 0 0'
      ;;
  esac
}

configure_system() {
  # What this machine's own network looks like does not belong in an image, least of all a password of its sources.
  rm -f "$root"/etc/apt/sources.list.d/0000sources.list
  sed -E 's,(://)[^/@ ]*@,\1,' "$work/sources.list" >"$root/etc/apt/sources.list"
  echo 'nameserver 10.0.2.3 # of QEMU'\''s user network' >"$root/etc/resolv.conf"
  uuid machine | tr -d - >"$root/etc/machine-id"
  echo "$role" >"$root/etc/hostname"
  printf '127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost ip6-localhost\n' "$role" >"$root/etc/hosts"
  make_fstab >"$root/etc/fstab"
  printf '[Match]\nName=en*\n\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/80-dhcp.network"
  # On an emulated CPU of a busy machine a device can take minutes to appear, and without ttyS0 there is no login.
  mkdir -p "$root/etc/systemd/system.conf.d"
  printf '[Manager]\nDefaultDeviceTimeoutSec=900\nDefaultTimeoutStartSec=900\n' \
    >"$root/etc/systemd/system.conf.d/slow-machine.conf"
  touch "$root/etc/cloud/cloud-init.disabled"
  in_image systemctl enable systemd-networkd
  in_image systemctl disable systemd-networkd-wait-online
  in_image sh -c "echo 'root:$root_password' | chpasswd"
  cp "$log" "$root/var/log/image-build.log"
}

configure_role() {
  case $role in
    base-rebuilt)
      printf 'Rebuilt on %s.\n' "$(date -u)" >"$root/etc/motd"
      echo 'net.core.somaxconn = 4096' >"$root/etc/sysctl.d/60-local.conf"
      sed -i 's/^#\?MaxAuthTries .*/MaxAuthTries 4/' "$root/etc/ssh/sshd_config"
      ;;
    web) cp -r "$root/usr/share/doc/debian-handbook/html/en-US" "$root/var/www/html/handbook" ;;
    db) fill_database ;;
  esac
}

# The database files of a server that has been in use, not only the templates. It listens on no network meanwhile:
# this is the machine's own, where another server may run.
fill_database() {
  mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
  # shellcheck disable=SC2016 # expands inside the image
  in_image sh -ec '
    cluster=$(pg_lsclusters -h | cut -d " " -f 1)
    pg_ctlcluster "$cluster" main start -- -o "-c listen_addresses="
    su postgres -c "createdb shop && pgbench -i -q -s 12 shop && pgbench -t 500 shop"
    pg_ctlcluster "$cluster" main stop'
}

# Builds the boot loader without grub-install, which would need a kernel that reads partition tables.
install_boot_loader() {
  local modules='biosdisk part_gpt part_msdos search search_fs_uuid configfile normal linux serial terminal gzio
                 echo test ls cat reboot' flags=''
  case $fs in
    ext4) modules+=' ext2' ;;
    lvm) modules+=' ext2 lvm' ;;
    xfs) modules+=' xfs' ;;
    btrfs) modules+=' btrfs' flags=" rootflags=subvol=$boot_prefix" ;;
  esac
  mkdir -p "$root/boot/grub"
  cat >"$root/boot/grub/grub.cfg" <<GRUB
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=0
menuentry 'Debian' {
  linux $boot_prefix/vmlinuz root=$kernel_root ro$flags console=tty0 console=ttyS0,115200 quiet
  initrd $boot_prefix/initrd.img
}
GRUB
  cat >"$work/early.cfg" <<GRUB
search.fs_uuid $root_uuid root
set prefix=(\$root)$boot_prefix/boot/grub
GRUB
  # shellcheck disable=SC2086 # a list of words
  grub-mkimage -O i386-pc -c "$work/early.cfg" -p /boot/grub -o "$work/core.img" $modules
  (($(stat -c %s "$work/core.img") <= core_sectors * 512)) || die 'the boot loader does not fit'
  head -c 440 /usr/lib/grub/i386-pc/boot.img >"$work/boot.img"
  write_u64 "$work/boot.img" 0x5c "$core_lba"
  write_u64 "$work/core.img" 0x1f4 "$((core_lba + 1))"
  dd if="$work/boot.img" of="$disk" conv=notrunc status=none
  dd if="$work/core.img" of="$disk" bs=512 seek="$core_lba" conv=notrunc status=none
}

# write_u64 FILE OFFSET VALUE: little-endian, in place.
write_u64() {
  local escaped='' i
  for ((i = 0; i < 64; i += 8)); do
    escaped+=$(printf '\\x%02x' $((($3 >> i) & 255)))
  done
  printf '%b' "$escaped" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none
}

finish_root() {
  umount -R "$root"
  attach_loop "$root_offset" "$root_bytes"
  case $fs_type in
    ext4) e2fsck -fn "$loop" ;;
    xfs) xfs_repair -n "$loop" ;;
    btrfs) btrfs check --readonly "$loop" ;;
  esac >>"$log" 2>&1 || die 'the root file system is not clean'
  detach_loop
}

publish() {
  local result=$disk
  if [[ $suffix == qcow2 ]]; then
    result=$work/disk.qcow2
    qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd "$disk" "$result"
  fi
  mv -f "$result" "$out"
}

main() {
  parse_arguments "$@"
  check_arguments
  "$here/../packaging/debian-packages.sh" samples
  enter_namespace "$@"
  umask 022
  prepare_work
  choose_release
  cache=${VMPACK_CACHE:-/var/cache/vmpack-samples}/$codename
  mkdir -p "$cache"
  partition_disk
  make_root
  say "installing $codename on a $size disk"
  install_packages
  delete_archives
  say 'packages installed'
  mount -t proc proc "$root/proc"
  mount --bind /dev "$root/dev"
  configure_system
  configure_role
  install_boot_loader
  finish_root
  publish
  say "$out is ready, $(du -m --apparent-size "$out" | cut -f 1) MiB, of which $(du -m "$out" | cut -f 1) MiB take space"
}

main "$@"
