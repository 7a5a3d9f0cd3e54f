#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the golden repository of a format version, once, with the vmpack that first writes that version. What is there
# already stays for ever: golden_test.cpp holds every later vmpack to it.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: tests/golden/make.sh VMPACK VERSION
  VMPACK   the program that writes the format
  VERSION  the format's version, and what is new where that does not need another (1-delta-frames): makes
           tests/golden/version-VERSION and tests/golden/version-VERSION.sha256
USAGE
}

if (($# != 2)); then
  usage >&2
  exit 2
fi
vmpack=$(realpath "$1")
out=$(realpath "$(dirname "${BASH_SOURCE[0]}")")/version-$2
if [[ -e $out ]]; then
  echo "make.sh: $out is there already, and stays as it is" >&2
  exit 1
fi
PATH=$PATH:/usr/sbin:/sbin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

noise() { openssl enc -aes-128-ctr -nosalt -K "$1" -iv 00 </dev/zero 2>/dev/null | head -c "$2" || true; }
K=0123456789abcdef0123456789abcdef

# Files of every class that vmpack tells apart, with ends within sectors and blocks.
mkdir -p tree/{etc,boot,usr/bin,var/lib/app}
for i in {1..400}; do echo "option_$i = $((i * i % 97))  # as in the manual, section $((i % 7))"; done >tree/etc/app.conf
for i in {1..30}; do echo "127.0.0.$i host-$i" >"tree/etc/host-$i"; done
{ printf '\x7fELF\x02\x01\x01'; noise $K 9000; for i in {1..200}; do printf 'symbol_%d\0' "$i"; done; } >tree/usr/bin/app
noise "${K:1}0" 20000 >tree/boot/vmlinuz
{ printf 'SQLite format 3\0'; for i in {1..300}; do printf 'row %d of a table\0\0\0' "$i"; done; } >tree/var/lib/app/app.db
{ printf '\x1f\x8b\x08'; noise "${K:2}00" 5000; } >tree/var/lib/app/old.log.gz
truncate -s 60000 tree/var/lib/app/sparse
echo end >>tree/var/lib/app/sparse
ln -s app.conf tree/etc/current.conf

# An MBR disk of 832 KiB: ext4 with blocks of 1 KiB, and swap.
truncate -s 640K ext4.raw
mke2fs -q -F -t ext4 -b 1024 -m 0 -O ^has_journal -L golden -d tree ext4.raw
truncate -s 832K disk.raw
printf 'label: dos\nlabel-id: 0x676f6c64\nstart=128, size=1280, type=83, bootable\nstart=1408, size=256, type=82\n' |
  sfdisk -q disk.raw
dd if=ext4.raw of=disk.raw bs=64K seek=1 conv=notrunc,sparse status=none
truncate -s 128K swap.raw
mkswap -q swap.raw
dd if=swap.raw of=disk.raw bs=64K seek=11 conv=notrunc,sparse status=none

# A second build of it that shares most with the first; one file differs a little from what it was.
cp disk.raw next.raw
noise "${K:3}000" 3000 >new
echo 'one more' >added
sed 's/^option_7 = .*/option_7 = on/' tree/etc/app.conf >app.conf
printf '%s\n' 'rm /etc/host-7' 'write new /var/lib/app/new' 'write added /etc/added' 'rm /etc/app.conf' \
  'write app.conf /etc/app.conf' | debugfs -w -f /dev/stdin ext4.raw >/dev/null 2>&1
dd if=ext4.raw of=next.raw bs=64K seek=1 conv=notrunc status=none

"$vmpack" init repository
"$vmpack" ingest disk.raw golden:1 --no-os --label build=1 --repo repository
"$vmpack" ingest next.raw golden:2 --no-os --label build=2 --repo repository
"$vmpack" verify --repo repository
rm -rf repository/tmp
sha256sum disk.raw next.raw | sed 's/disk\.raw/golden:1/; s/next\.raw/golden:2/' >"$out.sha256"
cp -r repository "$out"
du -sb "$out"
