#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Chains of snapshots beside chains of qcow2 backing files: what making one costs, and reading at each depth.

An image of random data gets one snapshot after the other, each with some scattered blocks changed. The same overlays,
each on the one before, are the qcow2 chain. At every depth 4 KiB are read at random places, one at a time: cold (a
server that was just started, caches of the system dropped where that is allowed) and hot (after all was read once),
through vmserve and through qemu-nbd, all depths in turn in every round: first with the repository as the snapshots made
it, then after 'vmpack gc'. Of each figure the median over the rounds is told.
"""
import argparse
import contextlib
import json
import os
import pathlib
import pickle
import random
import statistics
import subprocess
import sys
import tempfile
import time

BLOCK = 4096


def run(*command, check=True):
    result = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if check and result.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{result.stderr.decode()}")
    return result.stdout.decode() if result.returncode == 0 else None


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def half_random(count):
    """Bytes of which zstd saves about half."""
    return b"".join(os.urandom(BLOCK // 2) + b"\x55" * (BLOCK // 2) for _ in range(count // BLOCK))


class Chain:
    """A repository and a folder of qcow2 files with the same snapshots: number 0 is the image."""

    def __init__(self, folder, options):
        self.folder, self.options = folder, options
        self.repository = folder / "repository"
        self.made_seconds, self.added_bytes = [], []
        with open(self.overlay(0), "wb") as base:
            for _ in range(options.image_mib):
                base.write(half_random(1 << 20))
        run(options.vmpack, "init", "-q", self.repository)
        facts = run(options.vmpack, "ingest", "--no-os", "--json", "--repo", self.repository, self.overlay(0), "chain:0")
        self.digest = json.loads(facts)["snapshot"]
        self.random = random.Random(1)
        self.made = {}

    def overlay(self, number):
        return self.folder / ("0.raw" if number == 0 else f"{number}.qcow2")

    def write_changes(self, path):
        """A sparse file with the changed blocks alone: as a qcow2 file it is the overlay, and no base is read."""
        blocks = self.options.image_mib * (1 << 20) // BLOCK
        with open(path, "wb") as file:
            file.truncate(blocks * BLOCK)
            for number in self.random.sample(range(blocks), self.options.changed_blocks):
                file.seek(number * BLOCK)
                file.write(half_random(BLOCK))

    def add(self, number):
        changes, overlay = self.folder / "changes.raw", self.overlay(number)
        self.write_changes(changes)
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", f"cluster_size={BLOCK}", changes, overlay)
        changes.unlink()
        run("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", f"nbd://localhost/chain@{self.digest}", overlay)
        start = time.monotonic()
        facts = run(self.options.vmpack, "snapshot", f"chain:{number - 1}", f"chain:{number}", "--overlay", overlay,
                    "--no-facts", "--json", "--repo", self.repository)
        self.made_seconds.append(time.monotonic() - start)
        self.digest = json.loads(facts)["snapshot"]
        below = self.overlay(number - 1)
        run("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", below.suffix[1:], "-b", below, overlay)

    def collect(self):
        """Merges the packs that the snapshots made."""
        run(self.options.vmpack, "gc", "--grace", "0s", "--repo", self.repository)

    def grow_to(self, depth):
        """Adds snapshots; returns the median time and the growth of the repository for the last ten of them."""
        first = len(self.made_seconds) + 1
        counted = max(first, depth - 9)
        for number in range(first, depth + 1):
            if number == counted:
                before = size_of(self.repository)
            self.add(number)
        growth = (size_of(self.repository) - before) / (depth - counted + 1)
        self.made[depth] = statistics.median(self.made_seconds[counted - 1:]), growth


@contextlib.contextmanager
def vmserve(chain, socket):
    ready = pathlib.Path(f"{socket}.ready")
    ready.unlink(missing_ok=True)
    server = subprocess.Popen([chain.options.vmserve, "--repo", chain.repository, "--nbd", f"unix:{socket}",
                               "--cache", chain.options.cache, "--log-level", "error", "--ready-file", ready])
    try:
        while not ready.exists():
            if server.poll() is not None:
                raise SystemExit("vmserve did not start")
            time.sleep(0.005)
        yield lambda depth: f"nbd+unix:///chain:{depth}?socket={socket}"
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def qemu_nbd(chain, socket, depth):
    """Yields None where QEMU cannot open so long a chain."""
    socket = pathlib.Path(f"{socket}.qemu")
    socket.unlink(missing_ok=True)
    server = subprocess.Popen(["qemu-nbd", "-r", "-f", "qcow2", "--persistent", "--shared=0", "--cache=writeback",
                               f"--socket={socket}", chain.overlay(depth)], stderr=subprocess.DEVNULL)
    try:
        while not socket.exists() and server.poll() is None:
            time.sleep(0.005)
        yield f"nbd+unix:///?socket={socket}" if server.poll() is None else None
    finally:
        server.terminate()
        server.wait()


def read_microseconds(uri, reads, seed):
    """Mean time of one 4 KiB read."""
    report = run("fio", "--name=read", "--ioengine=nbd", f"--uri={uri}", "--rw=randread", "--bs=4k", "--iodepth=1",
                 f"--number_ios={reads}", f"--randseed={seed}", "--norandommap", "--output-format=json", check=False)
    if report is None:
        return None
    latency = json.loads(report[report.index("{"):])["jobs"][0]["read"]["clat_ns"]
    return latency["mean"] / 1000


def drop_caches():
    os.sync()
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


def measure_vmserve(chain, depth, socket, seed):
    drop_caches()
    with vmserve(chain, socket) as uri_of:
        cold = read_microseconds(uri_of(depth), chain.options.cold_reads, seed)
        run("nbdcopy", uri_of(depth), "null:")
        return cold, read_microseconds(uri_of(depth), chain.options.hot_reads, seed)


def measure_qcow2(chain, depth, socket, seed):
    if depth > chain.options.qcow2_depth_max:
        return None, None
    drop_caches()
    with qemu_nbd(chain, socket, depth) as uri:
        if uri is None:
            return None, None
        cold = read_microseconds(uri, chain.options.cold_reads, seed)
        run("nbdcopy", uri, "null:")
        return cold, read_microseconds(uri, chain.options.hot_reads, seed)


def median(values):
    return None if None in values else statistics.median(values)


def measure(chain, depths, socket, programs):
    """Depth to the medians of what each of `programs` told, cold and hot."""
    rounds = {depth: [] for depth in depths}
    for number in range(chain.options.rounds):
        for depth in depths:
            rounds[depth].append([value for program in programs for value in program(chain, depth, socket, number)])
            print(f"round {number + 1}, depth {depth}: {rounds[depth][-1]}", file=sys.stderr, flush=True)
    return {depth: [median(column) for column in zip(*values)] for depth, values in rounds.items()}


def table(made, latencies, options):
    def cell(value):
        return "-" if value is None else f"{value:.0f}"

    lines = [
        "# Chains of snapshots",
        "",
        f"Made by `bench/chain.py` on {time.strftime('%Y-%m-%d')}: an image of {options.image_mib} MiB, "
        f"{options.changed_blocks} scattered blocks of 4 KiB changed for each snapshot. Reads are of 4 KiB at random, one at "
        f"a time, in µs: medians of {options.rounds} rounds. Making counts from the overlay to the reference. A dash: not "
        "measured, QEMU needs minutes. Before `vmpack gc` a deep snapshot read cold opens a small pack for nearly every "
        "page and frame; gc merges them.",
        "",
        "| depth | made in ms | KiB added by one | vmserve, cold | hot | after gc, cold | hot | qcow2 chain, cold | hot |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for depth, (seconds, growth) in made.items():
        cells = [str(depth), cell(seconds * 1000), cell(growth / 1024), *map(cell, latencies[depth])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vmpack", required=True, type=os.path.abspath)
    parser.add_argument("--vmserve", required=True, type=os.path.abspath)
    parser.add_argument("--out", help="file for the table")
    parser.add_argument("--depths", default="1,10,100,1000")
    parser.add_argument("--image-mib", type=int, default=1024)
    parser.add_argument("--changed-blocks", type=int, default=256)
    parser.add_argument("--cache", default="3G", help="of vmserve: all of the image, for hot reads")
    parser.add_argument("--cold-reads", type=int, default=500)
    parser.add_argument("--hot-reads", type=int, default=50000)
    parser.add_argument("--qcow2-depth-max", type=int, default=100, help="QEMU needs minutes to read through longer chains")
    parser.add_argument("--chain", help="folder to make the chain in, and to keep; one that is there is measured again")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    depths = sorted(int(depth) for depth in options.depths.split(","))
    with tempfile.TemporaryDirectory(prefix="vmpack-chain-", dir=os.environ.get("TMPDIR", "/var/tmp")) as work:
        if options.chain and pathlib.Path(options.chain, "chain.pickle").exists():
            chain = pickle.loads(pathlib.Path(options.chain, "chain.pickle").read_bytes())
            chain.options = options
        else:
            chain = Chain(pathlib.Path(options.chain or work), options)
            for depth in depths:
                chain.grow_to(depth)
            pathlib.Path(chain.folder, "chain.pickle").write_bytes(pickle.dumps(chain))
        if options.rounds == 0:
            return
        socket = pathlib.Path(work) / "socket"
        latencies = measure(chain, depths, socket, [measure_vmserve])
        chain.collect()
        for depth, medians in measure(chain, depths, socket, [measure_vmserve, measure_qcow2]).items():
            latencies[depth] += medians
    text = table(chain.made, latencies, options)
    if options.out:
        pathlib.Path(options.out).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
