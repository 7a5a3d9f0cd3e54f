#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads and ingests on Ceph, by RADOS and by the S3 gateway: medians of interleaved runs."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

RUNS = 5


def measured(command, environment=None):
    """Processor seconds (of all its processes) and seconds of a command."""
    began = time.monotonic()
    process = subprocess.Popen([str(part) for part in command], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{command} failed")
    return usage.ru_utime + usage.ru_stime, time.monotonic() - began


def reads(program, places):
    """Of each place the medians of p50 and p99, microseconds."""
    for location in places.values():
        subprocess.run([program, location, "fill"], check=True)
    results = {name: [] for name in places}
    for run in range(RUNS):
        for name, location in places.items():
            results[name].append(json.loads(subprocess.check_output([program, location, "read", str(run)])))
            print("reads", name, results[name][-1], flush=True)
    return {name: {key: statistics.median(one[key] for one in runs) for key in runs[0]} for name, runs in results.items()}


def remove_repository(location, folder):
    """Makes room for the next run: memory is all that the cluster's disks are."""
    if location.startswith("rados://"):
        pool, namespace = location.split("?")[0].removeprefix("rados://").split("/", 1)
        names = subprocess.check_output(["rados", "-p", pool, "-N", namespace, "ls"], text=True).split()
        for begin in range(0, len(names), 500):
            subprocess.run(["rados", "-p", pool, "-N", namespace, "rm", *names[begin:begin + 500]], check=True)
    elif location.startswith("s3://"):
        bucket, prefix = location.removeprefix("s3://").split("/", 1)
        names = json.loads(subprocess.check_output(
            ["radosgw-admin", "bucket", "list", f"--bucket={bucket}", "--max-entries=1000000"]))
        for name in names:
            if name["name"].startswith(prefix + "/"):
                subprocess.run(["radosgw-admin", "object", "rm", f"--bucket={bucket}", f"--object={name['name']}"],
                               check=True, stdout=subprocess.DEVNULL)
    else:
        subprocess.run(["rm", "-rf", folder / location], check=True)


def ingests(program, image, places, folder):
    """Of each place the medians of processor seconds and seconds."""
    results = {name: [] for name in places}
    for run in range(RUNS + 1):
        for name, base in places.items():
            location = f"{base}-{run}" if "?" not in base else base.replace("?", f"-{run}?")
            environment = {**os.environ, "VMPACK_REPO": location, "XDG_CACHE_HOME": str(folder / "cache")}
            subprocess.run([program, "init", "--quiet", location], check=True, env=environment)
            result = measured([program, "ingest", "--quiet", "--no-os", image, "image:1"], environment)
            if run > 0:  # the first one warms up
                results[name].append(result)
            print("ingest", name, "%.2f s of processor, %.2f s" % result, flush=True)
            remove_repository(location, folder)
    return {name: [statistics.median(column) for column in zip(*runs)] for name, runs in results.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vmpack", required=True)
    parser.add_argument("--store-reads", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("image", type=pathlib.Path)
    options = parser.parse_args()
    pool, bucket = os.environ["VMPACK_CLUSTER_POOL"], os.environ["VMPACK_CLUSTER_BUCKET"]
    with tempfile.TemporaryDirectory(prefix="vmpack-ceph-", dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        folder = pathlib.Path(name)
        times = reads(options.store_reads, {"RADOS": f"rados://{pool}/reads", "RGW": f"s3://{bucket}/reads"})
        costs = ingests(os.path.abspath(options.vmpack), options.image.resolve(),
                        {"a folder": str(folder / "repository"), "RGW": f"s3://{bucket}/ingest",
                         "RADOS": f"rados://{pool}/ingest"}, folder)
    lines = [
        "# On Ceph", "",
        f"Made by `bench/ceph.sh` on {time.strftime('%Y-%m-%d')}: a cluster of Debian's Ceph on one machine ({os.cpu_count()} cores), "
        f"three OSDs in memory, size 3. Medians of {RUNS} interleaved runs.", "",
        "Reads of 64 KiB at random places in packs, one after the other, none kept by the client:", "",
        "| store | p50, ms | p99, ms |", "| --- | --- | --- |"]
    lines += [f"| {name} | {one['p50_us'] / 1000:.2f} | {one['p99_us'] / 1000:.2f} |" for name, one in times.items()]
    lines += [f"| RGW / RADOS | {times['RGW']['p50_us'] / times['RADOS']['p50_us']:.1f} × | "
              f"{times['RGW']['p99_us'] / times['RADOS']['p99_us']:.1f} × |", "",
              f"`vmpack ingest --no-os {options.image.name}` into an empty repository. The cluster competes with it for the same "
              "cores, so the time says little; the processor time is the client's own.", "",
              "| repository | processor, s | beside a folder | time, s |", "| --- | --- | --- | --- |"]
    lines += [f"| {name} | {cpu:.2f} | {cpu / costs['a folder'][0]:.2f} × | {seconds:.1f} |"
              for name, (cpu, seconds) in costs.items()]
    pathlib.Path(options.out).write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
