#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What collecting garbage takes, and what it frees.

Each image gets many snapshots: in each, runs of bytes all over the disk are other than in the image. Every second snapshot
is then forgotten, and the repository collected. All that stays is verified, and some of it restored and compared.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import subprocess
import tempfile
import time

MIB = 1 << 20


def run(*command):
    """Standard output, seconds, and the peak of memory in MiB."""
    start = time.monotonic()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed")
    return output, time.monotonic() - start, usage.ru_maxrss / 1024


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Machine:
    """A copy of an image that changes from snapshot to snapshot."""

    def __init__(self, name, image, folder, options):
        self.name, self.disk, self.options = name, folder / f"{name}.raw", options
        subprocess.run(["cp", "--sparse=always", image, self.disk], check=True)
        self.random = random.Random(name)
        self.replaced = []

    def change(self):
        """Puts back what was changed, and changes other places."""
        size = self.disk.stat().st_size
        with open(self.disk, "r+b") as file:
            for offset, old in reversed(self.replaced):
                file.seek(offset)
                file.write(old)
            self.replaced = []
            for _ in range(self.options.runs):
                offset = self.random.randrange(size // 4096 - 64) * 4096
                file.seek(offset)
                self.replaced.append((offset, file.read(64 * 1024)))
                file.seek(offset)
                half = os.urandom(32 * 1024)
                file.write(half + half.hex()[: len(half)].encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+")
    parser.add_argument("--vmpack", required=True, type=os.path.abspath)
    parser.add_argument("--snapshots", type=int, default=50, help="of each image")
    parser.add_argument("--runs", type=int, default=100, help="of 64 KiB that change for each")
    parser.add_argument("--out", help="file for the table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vmpack-gc-", dir=os.environ.get("TMPDIR", "/var/tmp")) as work:
        folder = pathlib.Path(work)
        repository = folder / "repository"

        def vmpack(*arguments):
            output, seconds, memory = run(options.vmpack, *arguments, "--repo", repository)
            return json.loads(output) if "--json" in arguments else None, seconds, memory

        run(options.vmpack, "init", "-q", repository)
        machines = [Machine(pathlib.Path(image).stem, image, folder, options) for image in options.images]
        ingest_seconds, sums = 0, {}
        for number in range(options.snapshots):
            for machine in machines:
                if number > 0:
                    machine.change()
                reference = f"{machine.name}:{number}"
                ingest_seconds += vmpack("ingest", "-q", "--no-os", machine.disk, reference)[1]
                if number in (1, options.snapshots - 1):
                    sums[reference] = sha256_of(machine.disk)
        for machine in machines:
            vmpack("forget", "-q", *[f"{machine.name}:{number}" for number in range(0, options.snapshots, 2)])
        before = size_of(repository)
        unused = vmpack("gc", "--dry-run", "--json")[0]["unused_bytes"]
        report, gc_seconds, memory = vmpack("gc", "--grace", "0s", "--json")
        after = size_of(repository)
        vmpack("verify", "-q")
        for reference, digest in sums.items():
            restored = folder / "restored"
            vmpack("restore", "-q", "--force", reference, restored)
            if sha256_of(restored) != digest:
                raise SystemExit(f"{reference} is not what it was")
        rows = [
            ("snapshots", f"{len(machines)} x {options.snapshots}, half of them forgotten"),
            ("repository before, MB", f"{before / 1e6:.0f}"),
            ("of frames and small files that nothing needed, MB", f"{unused / 1e6:.0f}"),
            ("repository after, MB", f"{after / 1e6:.0f}"),
            ("freed, of what nothing needed", f"{(before - after) / unused:.0%}"),
            ("moved, MB", f"{report['moved']['bytes'] / 1e6:.0f}"),
            ("time of gc, s", f"{gc_seconds:.1f}"),
            ("time of the ingests that made it, s", f"{ingest_seconds:.1f}"),
            ("peak memory of gc, MiB", f"{memory:.0f}"),
            ("named snapshots restored and compared", f"{len(sums)}, all verified"),
        ]
    lines = ["# Collecting garbage", "", f"Made by `bench/gc.sh` on {time.strftime('%Y-%m-%d')}.", "", "| what | figure |", "| --- | --- |"]
    text = "\n".join(lines + [f"| {what} | {figure} |" for what, figure in rows]) + "\n"
    if options.out:
        pathlib.Path(options.out).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
