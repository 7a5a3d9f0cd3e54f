#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A real Ceph cluster for tests: a monitor, a manager, three OSDs in memory and an S3 gateway, on loopback and in a
# folder of its own. Only processes that it started are ended, by their pid files.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: tests/cluster/ceph.sh COMMAND DIR [ARGUMENT...]
  start DIR                 makes DIR (which must not exist) and starts a cluster in it; DIR/env tells how to reach it
  stop DIR                  ends it, and removes DIR
  kill-osd DIR NUMBER       ends an OSD as a power failure does
  start-osd DIR NUMBER      starts it again
  wait-clean DIR            returns when every object has all its copies, on all OSDs that were started
  gateway DIR NAME ADDRESS  starts one more S3 gateway, at ADDRESS (host:port)
Needs packaging/debian-packages.sh cluster. Exit code 77: the programs are not installed.
USAGE
}

osds=3
pool=vmpack

die() { echo "ceph.sh: $*" >&2; exit 1; }

# free_ports COUNT: that many TCP ports of loopback that nobody listens on.
free_ports() {
  python3 - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for one in sockets: one.bind(("127.0.0.1", 0))
print(*[one.getsockname()[1] for one in sockets])
PYTHON
}

# wait_until SECONDS WHAT COMMAND...: until the command succeeds.
wait_until() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || die "timed out: $what (logs are in $dir/log)"
    sleep 0.2
  done
}

write_conf() {
  local fsid=$1 mon_port=$2 gateway_port=$3 kind
  cat >"$dir/ceph.conf" <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$mon_port]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = $dir/keyring
run dir = $dir/run
crash dir = $dir/log
mon data = $dir/mon
mgr data = $dir/mgr
osd data = $dir/osd.\$id
rgw data = $dir/rgw
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
mon data avail warn = 1
mon osd min down reporters = 1
mon osd down out interval = 3600
mon osd adjust heartbeat grace = false
mon allow pool delete = true
mon max pg per osd = 1000
mgr initial modules =
mgr stats period = 2
osd heartbeat interval = 1
osd heartbeat grace = 4
osd crush chooseleaf type = 0
osd crush update on start = false
osd class update on start = false
osd pool default size = 3
osd pool default min size = 2
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd objectstore = memstore
osd op num shards = 2
osd recovery sleep = 0
osd recovery sleep hdd = 0
osd recovery max active = 16
osd max backfills = 16
memstore device bytes = 6442450944
rgw frontends = beast endpoint=127.0.0.1:$gateway_port tcp_nodelay=1
rgw thread pool size = 64
rgw gc obj min wait = 10
rgw gc processor period = 10
CONF
  # Programs that come and go need no files of their own: of the clients only gateways are told where theirs are.
  for kind in mon mgr osd client.rgw; do
    cat >>"$dir/ceph.conf" <<CONF
[$kind]
pid file = $dir/run/\$name.pid
admin socket = $dir/run/\$name.asok
log file = $dir/log/\$name.log
CONF
  done
}

add_key() { # NAME CAPABILITY...
  local name=$1
  shift
  ceph-authtool "$dir/keyring" --gen-key -n "$name" "$@"
}

start_mon_and_mgr() {
  local fsid=$1 mon_port=$2
  ceph-authtool -C "$dir/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
  add_key client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
  add_key mgr.x --cap mon 'allow profile mgr' --cap osd 'allow *'
  add_key client.rgw --cap mon 'allow rw' --cap osd 'allow rwx'
  monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon_port]" "$dir/monmap" >/dev/null
  ceph-mon --mkfs -i a --monmap "$dir/monmap" --keyring "$dir/keyring"
  ceph-mon -i a
  ceph-mgr -i x
}

make_osd() {
  local number=$1 uuid
  uuid=$(cat /proc/sys/kernel/random/uuid)
  mkdir "$dir/osd.$number"
  add_key "osd.$number" --cap mon 'allow profile osd' --cap mgr 'allow profile osd' --cap osd 'allow *'
  ceph osd new "$uuid" "$number" >/dev/null
  ceph auth import -i "$dir/keyring" 2>/dev/null
  ceph-osd -i "$number" --mkfs --osd-uuid "$uuid" 2>>"$dir/log/mkfs.log"
  ceph osd crush add "osd.$number" 1.0 root=default host="host$number" 2>/dev/null
}

# Memory is all that an OSD here has: one that was killed starts empty, and is filled by the others.
start_osd() {
  local number=$1
  if [[ -e $dir/run/osd.$number.pid ]]; then
    rm -f "$dir/run/osd.$number.pid"
    ceph-osd -i "$number" --mkfs --osd-uuid "$(cat "$dir/osd.$number/fsid")" 2>>"$dir/log/mkfs.log"
  fi
  ceph-osd -i "$number" 2>>"$dir/log/osd-start.log"
}

start_gateway() { # NAME [OPTION...]
  timeout 60 radosgw -n "$1" "${@:2}" >>"$dir/log/gateway-start.log" 2>&1
}

gateway_answers() { curl -s -o /dev/null --max-time 2 "http://$1/"; }

make_bucket() { # ADDRESS NAME KEY SECRET
  curl -sS --fail --retry 10 --retry-all-errors -o /dev/null --aws-sigv4 aws:amz:us-east-1:s3 -u "$3:$4" \
    -H x-amz-content-sha256:UNSIGNED-PAYLOAD -X PUT "http://$1/$2"
}

# What tests use of the cluster: a pool, two users who may do something there, and at the gateway a user and a bucket.
# A second user there may store 32 MiB.
make_pool_and_users() {
  ceph osd pool create "$pool" 32 32
  ceph osd pool application enable "$pool" vmpack
  ceph auth get-or-create client.vmpack mon 'allow r' osd "allow rwx pool=$pool" -o "$dir/client.vmpack.keyring"
  ceph auth get-or-create client.reader mon 'allow r' osd "allow r pool=$pool" -o "$dir/client.reader.keyring"
  radosgw-admin user create --uid=vmpack --display-name=vmpack --access-key=VMPACKTESTKEY --secret-key=vmpack-test-secret
  radosgw-admin user create --uid=small --display-name=small --access-key=SMALLTESTKEY --secret-key=small-test-secret
  radosgw-admin quota set --quota-scope=user --uid=small --max-size=32M
  radosgw-admin quota enable --quota-scope=user --uid=small
} >>"$dir/log/setup.log" 2>&1

write_env() {
  cat >"$dir/env" <<ENV
export CEPH_CONF=$dir/ceph.conf
export VMPACK_CLUSTER=$dir
export VMPACK_CLUSTER_POOL=$pool
export VMPACK_CLUSTER_BUCKET=vmpack
export VMPACK_CLUSTER_SMALL_BUCKET=small
export AWS_ENDPOINT_URL=http://127.0.0.1:$1
export AWS_ACCESS_KEY_ID=VMPACKTESTKEY
export AWS_SECRET_ACCESS_KEY=vmpack-test-secret
export AWS_REGION=us-east-1
ENV
}

start() {
  local program ports fsid number
  for program in ceph-mon ceph-mgr ceph-osd radosgw radosgw-admin ceph; do
    command -v "$program" >/dev/null || { echo "ceph.sh: $program is not installed" >&2; exit 77; }
  done
  [[ ! -e $dir ]] || die "$dir exists; stop that cluster first"
  mkdir -p "$dir"/{run,log,mon,mgr,rgw}
  trap 'echo "ceph.sh: the cluster did not start; logs are in $dir/log" >&2' ERR
  read -ra ports <<<"$(free_ports 2)"
  fsid=$(cat /proc/sys/kernel/random/uuid)
  write_conf "$fsid" "${ports[0]}" "${ports[1]}"
  start_mon_and_mgr "$fsid" "${ports[0]}"
  for ((number = 0; number < osds; ++number)); do
    make_osd "$number"
    start_osd "$number"
  done
  wait_until 60 "the OSDs" is_clean
  start_gateway client.rgw
  make_pool_and_users
  wait_until 60 "the gateway" gateway_answers "127.0.0.1:${ports[1]}"
  make_bucket "127.0.0.1:${ports[1]}" vmpack VMPACKTESTKEY vmpack-test-secret
  make_bucket "127.0.0.1:${ports[1]}" small SMALLTESTKEY small-test-secret
  write_env "${ports[1]}"
  wait_clean
}

is_clean() {
  timeout 10 ceph status -f json 2>/dev/null | python3 -c '
import json, sys
status = json.load(sys.stdin)
osds = status["osdmap"]
states = [one["state_name"] for one in status["pgmap"].get("pgs_by_state", [])]
sys.exit(not (osds["num_up_osds"] == osds["num_osds"] and set(states) <= {"active+clean"}))'
}

wait_clean() { wait_until 240 "all objects having all copies" is_clean; }

# pid_of FILE: of a process of this cluster that runs, or nothing.
pid_of() {
  local pid
  pid=$(cat "$1" 2>/dev/null) && [[ -n $pid ]] || return 0
  if grep -qs "ceph-\|radosgw" "/proc/$pid/comm"; then echo "$pid"; fi
}

# end_all FILE...: asks the processes of these pid files to end, and kills those that do not.
end_all() {
  local file pid attempt
  for file in "$@"; do pid=$(pid_of "$file"); [[ -z $pid ]] || kill "$pid" 2>/dev/null || true; done
  for ((attempt = 0; attempt < 25; ++attempt)); do
    local left=no
    for file in "$@"; do [[ -z $(pid_of "$file") ]] || left=yes; done
    [[ $left == yes ]] || return 0
    sleep 0.2
  done
  for file in "$@"; do pid=$(pid_of "$file"); [[ -z $pid ]] || kill -9 "$pid" 2>/dev/null || true; done
}

# Gateways hang for a minute if the OSDs go before them.
stop() {
  [[ -d $dir/run ]] || return 0
  end_all "$dir"/run/client.*.pid
  end_all "$dir"/run/osd.*.pid
  end_all "$dir"/run/mgr.*.pid "$dir"/run/mon.*.pid
  rm -rf "$dir"
}

case ${1:-} in
  start | stop | kill-osd | start-osd | wait-clean | gateway) ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
[[ -n ${2:-} ]] || { usage >&2; exit 2; }
command=$1 dir=$(realpath -m "$2")
shift 2
export CEPH_CONF=$dir/ceph.conf
unset CEPH_ARGS
case $command in
  start) start ;;
  stop) stop ;;
  kill-osd) kill -9 "$(cat "$dir/run/osd.$1.pid")" ;;
  start-osd) start_osd "$1" ;;
  wait-clean) wait_clean ;;
  gateway)
    start_gateway "client.rgw" --rgw-frontends "beast endpoint=$2 tcp_nodelay=1" --pid-file "$dir/run/client.rgw.$1.pid" \
      --admin-socket "$dir/run/client.rgw.$1.asok" --log-file "$dir/log/client.rgw.$1.log"
    wait_until 60 "the gateway $1" gateway_answers "$2"
    ;;
esac
