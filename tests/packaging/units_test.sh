#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The systemd units are without mistakes, expose little, and their example of settings can be used. Arguments: the
# configured vmserve.service.
set -euo pipefail
service=$1
command -v systemd-analyze >/dev/null || { echo 'skipped: systemd-analyze is not installed'; exit 77; }
units=$VMPACK_SOURCE_DIR/packaging/systemd
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() { echo "units_test: $*" >&2; exit 1; }

sed "s,^ExecStart=[^ ]*,ExecStart=$VMSERVE," "$service" >"$scratch/vmserve.service"
cp "$units"/*.socket "$scratch"
systemd-analyze verify --man=no "$scratch"/* >"$scratch/verified" 2>&1 || fail "verify: $(<"$scratch/verified")"
! grep -F "$scratch" "$scratch/verified" || fail 'systemd-analyze verify has something to say'

# Its exposure is 10 without any hardening, and below 2 counts as small.
systemd-analyze security --offline=yes --threshold=20 "$scratch/vmserve.service" >"$scratch/security" ||
  fail "security: $(tail -n 1 "$scratch/security")"
tail -n 1 "$scratch/security"

"$VMSERVE" --config "$units/vmserve.toml" --check-config >"$scratch/settings"
# All of it, but for certificates that are not there.
sed '/^#.*\(tls\|https\)/d; s/^#\([a-z[]\)/\1/' "$units/vmserve.toml" >"$scratch/everything.toml"
"$VMSERVE" --config "$scratch/everything.toml" --check-config >"$scratch/settings"
grep -q '^\[\[access\]\]' "$scratch/settings" || fail 'the example of settings lost its rules'
