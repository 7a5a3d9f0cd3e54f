#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmserve with a second level of its cache on disk: a restarted server does not read packs again, and what became of the
copies meanwhile harms nobody.

Needs the programs in $VMPACK and $VMSERVE, and libnbd's Python module. Exit code 77: not here.
"""
import glob
import os
import random
import sys
import tempfile
import urllib.request

from real_clients import Server, World, nbd, run

MIB = 1024 * 1024


class CachingServer(Server):
    """vmserve with a disk cache, in a with block."""

    def __init__(self, world, options):
        super().__init__(world.vmserve, world.repository, tempfile.mkdtemp(dir=world.folder), "--http", "127.0.0.1:0", *options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def read_all(self, reference):
        handle = nbd.NBD()
        handle.connect_uri(self.uri(reference))
        size = handle.get_size()
        content = b"".join(handle.pread(min(4 * MIB, size - at), at) for at in range(0, size, 4 * MIB))
        handle.shutdown()
        return content

    def metric(self, name):
        text = urllib.request.urlopen(f"{self.http_uris[0]}/metrics", timeout=20).read().decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith((name + " ", name + "{")))


def damage(folder):
    generator = random.Random(7)
    for path in glob.glob(f"{folder}/*.segment"):
        with open(path, "r+b") as file:
            for _ in range(200):
                file.seek(generator.randrange(os.path.getsize(path)))
                file.write(b"\xa5")


def main():
    with tempfile.TemporaryDirectory(prefix="vmserve-disk-cache-") as folder:
        world = World(folder)
        world.ingest("web:v1", 1)
        options = ["--disk-cache", f"{folder}/copies", "--disk-cache-size", "1G"]
        content = world.images["web:v1"][1]
        with CachingServer(world, options) as server:
            assert server.read_all("web:v1") == content
            assert server.metric("vmserve_disk_cache_hits_total") < server.metric("vmserve_disk_cache_misses_total")
            first_bytes = server.metric("vmserve_store_read_bytes_total")
            second = run(world.vmserve, "--repo", world.repository, "--nbd", f"unix:{folder}/second.sock", *options, code=1)  # has the folder already
            assert "another process uses the disk cache" in second.stderr, second.stderr
        with CachingServer(world, options) as server:
            assert server.read_all("web:v1") == content
            assert server.metric("vmserve_disk_cache_hits_total") > 10
            again_bytes = server.metric("vmserve_store_read_bytes_total")
            assert again_bytes < first_bytes / 20, (first_bytes, again_bytes)
        damage(f"{folder}/copies")
        with CachingServer(world, options) as server:
            assert server.read_all("web:v1") == content
            assert server.metric("vmserve_disk_cache_damaged_total") > 0
            assert server.metric("vmserve_damage_total") == 0
        print("a restarted server read", f"{again_bytes / first_bytes:.1%}", "of what the first one did")


if __name__ == "__main__":
    sys.exit(main())
