#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Many connections reading many images of one vmserve: no error, nobody starves, and memory stays within cache and 1 MB a connection.

Every client reads at random, checks what it gets, and counts it; the slowest must have half of what the median has. Exit code 1 when
that does not hold, 77 where it cannot run.
"""
import argparse
import mmap
import multiprocessing
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "server"))
from real_clients import make_image, nbd, run, tool  # noqa: E402

MIB = 1 << 20
BLOCK = 65536
CONNECTION_BYTES = 1_000_000


def read_images(socket, images, connections, seconds, start, results):
    """One process with its share of the connections, one request of each under way at a time."""
    clients = []
    for number in connections:
        tag, path = images[number % len(images)]
        with open(path, "rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        client = nbd.NBD()
        client.connect_uri(f"nbd+unix:///{tag}?socket={socket}")
        clients.append({"client": client, "content": content, "done": 0, "buffer": nbd.Buffer(BLOCK), "cookie": None})
    start.wait()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for state in clients:
            state["offset"] = random.randrange(len(state["content"]) - BLOCK)
            state["cookie"] = state["client"].aio_pread(state["buffer"], state["offset"])
        for state in clients:
            while not state["client"].aio_command_completed(state["cookie"]):
                state["client"].poll(-1)
            wanted = state["content"][state["offset"]:state["offset"] + BLOCK]
            if state["buffer"].to_bytearray() != wanted:
                raise AssertionError("wrong bytes")
            state["done"] += 1
    for state in clients:
        state["client"].shutdown()
    results.put([state["done"] for state in clients])


def peak_memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def start_server(vmserve, folder, cache, log):
    socket = folder / "nbd.sock"
    process = subprocess.Popen([vmserve, "--repo", folder / "repo", "--nbd", f"unix:{socket}", "--cache", str(cache), "--ready-file",
                                folder / "ready"], stderr=log)
    while not (folder / "ready").exists():
        assert process.poll() is None
        time.sleep(0.05)
    return process, socket


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--cache", type=int, default=256, help="in MiB")
    parser.add_argument("--processes", type=int, default=4, help="of clients")
    options = parser.parse_args()
    vmpack, vmserve = tool("VMPACK"), tool("VMSERVE")
    with tempfile.TemporaryDirectory(prefix="vmserve-many-") as name:
        folder = pathlib.Path(name)
        run(vmpack, "init", folder / "repo")
        images = []
        for number in range(options.images):
            tag, path = f"image{number}:v1", folder / f"{number}.raw"
            make_image(path, number)
            run(vmpack, "ingest", path, tag, "--repo", folder / "repo", "--format", "raw", "--no-os")
            images.append((tag, path))
        with open(folder / "log", "wb") as log:
            server, socket = start_server(vmserve, folder, options.cache * MIB, log)
        start, results = multiprocessing.Barrier(options.processes + 1), multiprocessing.Queue()
        readers = [multiprocessing.Process(target=read_images, args=(socket, images, range(first, options.connections, options.processes),
                                                                     options.seconds, start, results))
                   for first in range(options.processes)]
        for reader in readers:
            reader.start()
        start.wait(timeout=120)
        counts = sorted(count for _ in readers for count in results.get(timeout=options.seconds + 120))
        for reader in readers:
            reader.join()
        peak = peak_memory(server.pid)
        server.terminate()
        server.wait()
        errors = [line for line in (folder / "log").read_text().splitlines() if " error: " in line]
    median = statistics.median(counts)
    allowed = options.cache * MIB + options.connections * CONNECTION_BYTES
    print(f"{len(counts)} connections, {options.images} images, {os.cpu_count()} processors, {options.seconds:.0f} s: {sum(counts) / options.seconds:.0f} "
          f"reads of 64 KiB a second; slowest {counts[0]}, median {median:.0f}, fastest {counts[-1]}")
    print(f"memory at most {peak / MIB:.0f} MiB, allowed {allowed / MIB:.0f} MiB")
    faults = errors[:10]
    if counts[0] < median / 2:
        faults.append(f"the slowest connection had {counts[0] / median:.2f} of the median")
    if peak > allowed:
        faults.append("memory is above cache and 1 MB a connection")
    for fault in faults:
        print(f"FAILED: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
