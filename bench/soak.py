#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Mixed load on one vmserve for a long time: every byte must be right, memory and descriptors must not grow.

At once: random readers (plain and TLS) that come and go, whole copies, ranges by HTTP, clients that send nonsense, vanish in the
middle of a reply or take nothing for seconds, reloads by SIGHUP, a tag that moves. Exit code 1 on any wrong byte, on an error, and on
growth; 77 where it cannot run.
"""
import argparse
import contextlib
import mmap
import os
import pathlib
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "server"))
from real_clients import make_image, nbd, run, tool  # noqa: E402

MIB = 1 << 20
CACHE = 64 * MIB
GROWTH_MAX = 24 * MIB  # of memory between the second quarter and the last: less than a cache's worth of anything
DESCRIPTORS_MAX = 8  # more with nobody connected than before the load
IMAGES = 4
SETTLE_SECONDS = 6  # until clients that are gone are noticed
BLOCKS = (512, 4096, 65536, 1 * MIB)


class Soak:
    def __init__(self, folder, seconds):
        self.folder, self.seconds = pathlib.Path(folder), seconds
        self.vmpack, vmserve = tool("VMPACK"), tool("VMSERVE")
        self.repository = self.folder / "repo"
        run(self.vmpack, "init", self.repository)
        self.images = {f"image{n}:v1": self.ingest(f"image{n}:v1", n) for n in range(IMAGES)}
        self.tags = list(self.images)
        run(self.vmpack, "tag", self.tags[0], "moving:now", "--repo", self.repository)
        self.keys = self.folder / "keys"
        self.keys.write_text("alice:" + random.Random(1).randbytes(32).hex() + "\n")
        self.config = self.folder / "vmserve.toml"
        self.write_config(1000)
        self.log_path = self.folder / "log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([vmserve, "--config", self.config], stderr=log)
        self.wait_until_ready()
        self.end = threading.Event()
        self.failures, self.counts, self.lock = [], {}, threading.Lock()

    def ingest(self, reference, seed):
        path = self.folder / f"{seed}.raw"
        make_image(path, seed)
        run(self.vmpack, "ingest", path, reference, "--repo", self.repository, "--format", "raw", "--no-os")
        with open(path, "rb") as file:
            return path, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def write_config(self, connections):
        """Replaced as a whole: the server may read it at any moment."""
        fresh = self.folder / "vmserve.toml.new"
        fresh.write_text(f'repo = "repo"\nnbd = ["unix:nbd.sock", "127.0.0.1:0"]\nhttp = ["127.0.0.1:0"]\ncache = {CACHE}\n'
                         f'tls = "on"\ntls-psk = "keys"\nready-file = "ready"\nlog-format = "json"\n'
                         f"[limits]\nconnections = {connections}\nsend-stall = 10\n")
        fresh.rename(self.config)

    def wait_until_ready(self):
        ready = self.folder / "ready"
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log_path.read_text()
            time.sleep(0.05)
        uris = ready.read_text().split()
        self.tcp = next(uri for uri in uris if uri.startswith(("nbd://", "nbds://"))).split("://")[1].strip("/")
        self.http = next(uri for uri in uris if uri.startswith("http://")).rstrip("/")
        self.socket = str(self.folder / "nbd.sock")

    # ---- load: each does its work once ----

    def connect(self, export, tls=False):
        client = nbd.NBD()
        if tls:
            client.set_tls(nbd.TLS_REQUIRE)
            client.set_tls_psk_file(str(self.keys))
            client.set_tls_username("alice")
        client.set_export_name(export)
        if tls or random.random() < 0.5:
            host, port = self.tcp.rsplit(":", 1)
            client.connect_tcp(host, port)
        else:
            client.connect_unix(self.socket)
        return client

    def check(self, client, content, reads):
        for _ in range(reads):
            length = random.choice(BLOCKS)
            offset = random.randrange(len(content) - length)
            if client.pread(length, offset) != content[offset:offset + length]:
                raise AssertionError(f"wrong bytes at {offset}")

    def reader(self, tls=False):
        tag = random.choice(self.tags)
        client = self.connect(tag, tls)
        self.check(client, self.images[tag][1], random.randrange(1, 100))
        if random.random() < 0.8:  # others just vanish
            client.shutdown()

    def reader_over_tls(self):
        self.reader(tls=True)

    def copier(self):
        tag = random.choice(self.tags)
        with subprocess.Popen(["nbdcopy", f"nbd+unix:///{tag}?socket={self.socket}", "-"], stdout=subprocess.PIPE) as copy:
            compared = subprocess.run(["cmp", "-", self.images[tag][0]], stdin=copy.stdout)
        if copy.returncode != 0 or compared.returncode != 0:
            raise AssertionError(f"the copy of {tag} failed or differs")

    def ranger(self):
        tag = random.choice(self.tags)
        content = self.images[tag][1]
        for _ in range(10):
            length = random.choice(BLOCKS)
            offset = random.randrange(len(content) - length)
            request = urllib.request.Request(f"{self.http}/images/{tag}", headers={"Range": f"bytes={offset}-{offset + length - 1}"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                if answer.read() != content[offset:offset + length]:
                    raise AssertionError(f"wrong bytes by HTTP at {offset}")

    def nonsense(self):
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.connect(self.socket)
            client.sendall(random.randbytes(random.randrange(200)))
            client.settimeout(0.2)
            client.recv(1 << 16)
        time.sleep(0.02)

    def slow_one(self):
        """Asks for much and takes nothing; sometimes until the server has had enough."""
        client = self.connect(random.choice(self.tags))
        buffers = [nbd.Buffer(4 * MIB) for _ in range(8)]
        for buffer in buffers:
            client.aio_pread(buffer, 0)
        self.end.wait(random.choice((0.1, 1, 12)))

    def reloader(self):
        self.write_config(random.randrange(500, 2000))
        self.process.send_signal(signal.SIGHUP)
        self.end.wait(3)

    def mover(self):
        run(self.vmpack, "tag", "--force", random.choice(self.tags), "moving:now", "--repo", self.repository)
        client = self.connect("moving:now")
        first = client.pread(1 * MIB, 50 * MIB)
        if not any(first == content[50 * MIB:51 * MIB] for _, content in self.images.values()):
            raise AssertionError("the moving tag showed what no image holds")
        client.shutdown()
        self.end.wait(1)

    # ---- the run ----

    def repeat(self, work):
        while not self.end.is_set():
            try:
                work()
            except Exception as error:  # whatever it is, it is a finding
                with self.lock:
                    self.failures.append(f"{work.__name__}: {error}")
                self.end.wait(0.5)
            with self.lock:
                self.counts[work.__name__] = self.counts.get(work.__name__, 0) + 1

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def settled_descriptors(self):
        """With nobody connected."""
        deadline = time.monotonic() + SETTLE_SECONDS
        fewest = self.descriptors()
        while time.monotonic() < deadline:
            time.sleep(0.5)
            fewest = min(fewest, self.descriptors())
        return fewest

    def load(self):
        works = [self.reader] * 4 + [self.reader_over_tls] * 2 + [self.copier, self.ranger, self.ranger, self.nonsense, self.slow_one,
                                                                 self.reloader, self.mover]
        threads = [threading.Thread(target=self.repeat, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        samples = []
        deadline = time.monotonic() + self.seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            samples.append(self.memory())
            time.sleep(1)
        self.end.set()
        for thread in threads:
            thread.join()
        return samples

    def run(self):
        for tag in self.tags:  # from now on the files of the store are open
            self.check(self.connect(tag), self.images[tag][1], 50)
        before = self.settled_descriptors()
        samples = self.load()
        assert self.process.poll() is None, self.log_path.read_text()[-3000:]
        after = self.settled_descriptors()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        quarter = max(1, len(samples) // 4)
        early, late = statistics.median(samples[quarter:2 * quarter]), statistics.median(samples[-quarter:])
        print(f"done: {', '.join(f'{count} × {name}' for name, count in sorted(self.counts.items()))}")
        print(f"memory: {early / MIB:.0f} MiB in the second quarter, {late / MIB:.0f} MiB in the last, {max(samples) / MIB:.0f} MiB at most")
        print(f"descriptors with nobody connected: {before} before, {after} after")
        faults = self.failures[:10]
        if late - early > GROWTH_MAX:
            faults.append(f"memory grew by {(late - early) / MIB:.0f} MiB")
        if after - before > DESCRIPTORS_MAX:
            faults.append(f"descriptors grew from {before} to {after}")
        if code != 0:
            faults.append(f"vmserve ended with {code}")
        faults += [line for line in self.log_path.read_text().splitlines() if '"level":"error"' in line][:10]
        return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    options = parser.parse_args()
    for program in ("nbdcopy", "cmp"):
        if not shutil.which(program):
            print(f"skipped: {program} is not installed")
            return 77
    with tempfile.TemporaryDirectory(prefix="vmserve-soak-") as folder:
        faults = Soak(folder, options.minutes * 60).run()
    for fault in faults:
        print(f"FAILED: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
