#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Boots a disk image, or an NBD export, in QEMU without changing it, and waits for a text on the serial console.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: samples/boot.sh [OPTION]... IMAGE|NBD-URI

  --expect REGEX     extended regular expression to wait for (login:)
  --timeout SECONDS  how long to wait for it (300)
  --accel A          auto, kvm or tcg; auto tries KVM where there is one and falls back to TCG (auto)
  --memory MIB       memory of the guest (512)
  --log FILE         keeps what the guest wrote to its serial console

Exit code: 0 the text appeared, 1 it did not, 2 wrong usage.
USAGE
}

wrong_usage() {
  echo "boot: $* (see --help)" >&2
  exit 2
}

parse_arguments() {
  expect='login:' timeout=300 accel=auto memory=512 log='' image=''
  while (($#)); do
    case $1 in
      -h | --help) usage; exit 0 ;;
      --expect | --timeout | --accel | --memory | --log)
        (($# > 1)) || wrong_usage "$1 needs a value"
        printf -v "${1#--}" %s "$2"
        shift ;;
      -*) wrong_usage "no option $1" ;;
      *)
        [[ -z $image ]] || wrong_usage "one image at a time"
        image=$1 ;;
    esac
    shift
  done
  [[ -n $image ]] || wrong_usage 'an image or an NBD URI is needed'
  [[ $timeout =~ ^[0-9]+$ ]] || wrong_usage "'$timeout' is not a number of seconds"
  [[ $accel == auto || $accel == kvm || $accel == tcg ]] || wrong_usage "no accelerator '$accel'"
  local status=0
  grep -qE -- "$expect" /dev/null || status=$?
  ((status < 2)) || wrong_usage "'$expect' is not a regular expression"
}

# The format is named, never guessed from what an untrusted image contains.
image_format() {
  case $image in
    nbd://* | nbds://* | nbd+unix://* | nbds+unix://*) echo raw ;;
    *.qcow2 | *.vmdk | *.vdi | *.vhdx) echo "${image##*.}" ;;
    *) echo raw ;;
  esac
}

clean_up() {
  local status=$?
  stop_guest
  [[ -z $log || ! -s $work/serial ]] || cp "$work/serial" "$log"
  rm -rf "$work"
  exit "$status"
}

stop_guest() {
  [[ -n $guest ]] || return 0
  kill -KILL "$guest" 2>/dev/null || true
  wait "$guest" 2>/dev/null || true
  guest=''
}

# start_guest ACCELERATOR ARGUMENT...: QEMU as a child that dies with us; its serial console goes to $work/serial.
start_guest() {
  local accelerator=$1
  shift
  : >"$work/serial"
  # Without graphics the firmware speaks on the serial console too, so that one sees what it could not boot.
  setpriv --pdeathsig KILL qemu-system-x86_64 -machine pc,graphics=off -accel "$accelerator" -nodefaults \
    -display none -monitor none -serial "file:$work/serial" "$@" >"$work/qemu" 2>&1 </dev/null &
  guest=$!
}

# wait_for REGEX SECONDS: true once the guest has written it, false when time is over, QEMU ended or the boot failed.
wait_for() {
  local deadline=$((SECONDS + $2))
  while ((SECONDS < deadline)); do
    grep -qaE -- "$1" "$work/serial" && return 0
    grep -qaE 'Kernel panic|grub rescue>|No bootable device' "$work/serial" && return 1
    kill -0 "$guest" 2>/dev/null || return 1
    sleep 0.2
  done
  return 1
}

# Broken KVMs end QEMU or hang silently: one is used only if the firmware gets as far as its first words.
kvm_works() {
  [[ -r /dev/kvm && -w /dev/kvm ]] || return 1
  local works=no
  start_guest kvm -m 64
  wait_for SeaBIOS 5 && works=yes
  stop_guest
  [[ $works == yes ]]
}

# boot ACCELERATOR SECONDS. One CPU: two emulated ones that wait for each other on a busy machine lock up or panic.
boot() {
  started=$EPOCHREALTIME
  start_guest "$1" -m "$memory" -smp 1 -nic none -device virtio-rng-pci \
    -drive "file=$image,format=$(image_format),if=virtio,snapshot=on"
  wait_for "$expect" "$2"
}

report() {
  local took
  took=$(awk -v a="$started" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  tr -d '\r' <"$work/serial" | sed 's/\x1b[][()][0-9;?]*[A-Za-z]\?//g' | grep -a '[^[:space:]]' | tail -n 8 | sed 's/^/  | /' || true
  [[ ! -s $work/qemu ]] || sed 's/^/  qemu: /' "$work/qemu"
  echo "$1 after $took s ($2): $image"
}

main() {
  parse_arguments "$@"
  work=$(mktemp -d) guest=''
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  # A KVM that runs the firmware may still not run a kernel, so it gets only part of the time.
  if [[ $accel == kvm ]] || { [[ $accel == auto ]] && kvm_works; }; then
    local part=$timeout
    [[ $accel == kvm ]] || part=$((timeout / 4 + 1))
    if boot kvm "$part"; then
      report "'$expect' seen" kvm
      return 0
    fi
    stop_guest
    [[ $accel == auto ]] || { report "no '$expect'" kvm >&2; return 1; }
    echo 'boot: KVM did not bring the guest up, trying TCG' >&2
  fi
  if boot tcg,thread=multi "$timeout"; then
    report "'$expect' seen" tcg
    return 0
  fi
  report "no '$expect'" tcg >&2
  return 1
}

main "$@"
