#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Real NBD clients against vmserve and a repository made by vmpack: all of them must see the image as it is.

Needs the programs in $VMPACK and $VMSERVE, and libnbd's tools and Python module, qemu-img. Exit code 77: not here.
"""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

try:
    import nbd
except ImportError:
    print("skipped: python3-libnbd is not installed")
    sys.exit(77)

KIB, MIB = 1024, 1024 * 1024
IMAGE_BYTES = 200 * MIB + 1536  # not a multiple of 4 KiB


def tool(variable):
    path = os.environ.get(variable)
    if not path or not os.access(path, os.X_OK):
        print(f"skipped: ${variable} names no program")
        sys.exit(77)
    return path


def run(*command, code=0, timeout=120):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    if done.returncode != code:
        raise AssertionError(f"{' '.join(command)} exited with {done.returncode}, not {code}:\n{done.stdout}{done.stderr}")
    return done


def make_image(path, seed, image_bytes=IMAGE_BYTES):
    """Random data, repeated data, text and holes; the last sectors are data."""
    generator = random.Random(seed)
    with open(path, "wb") as image:
        image.truncate(image_bytes)
        for _ in range(60):
            image.seek(generator.randrange(0, image_bytes // 512 - 4096) * 512)
            kind = generator.randrange(3)
            length = generator.randrange(1, 4096) * 512
            if kind == 0:
                image.write(generator.randbytes(length))
            elif kind == 1:
                image.write((b"all work and no play makes a dull image\n" * (length // 40 + 1))[:length])
            else:
                image.write(b"\0" * length)
        image.seek(image_bytes - 1024)
        image.write(generator.randbytes(1024))


class Server:
    """vmserve on a unix socket and a TCP port, both found in its ready file."""

    def __init__(self, program, repository, folder, *options):
        self.socket = os.path.join(folder, "nbd.sock")
        self.log_path = os.path.join(folder, "vmserve.log")
        ready = os.path.join(folder, "ready")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [program, "--repo", repository, "--nbd", "unix:" + self.socket, "--nbd", "127.0.0.1:0", "--cache", "64M",
                 "--ready-file", ready, *options], stdout=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + 30
        while not os.path.exists(ready):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        with open(ready) as uris:
            self.unix_uri, self.tcp_uri, *self.http_uris = uris.read().split()
        assert self.unix_uri.split("://")[1] == "/?socket=" + self.socket

    def uri(self, export):
        return f"nbd+unix:///{export}?socket={self.socket}"

    def tcp(self, export):
        return f"{self.tcp_uri}/{export}"

    def log(self):
        with open(self.log_path) as log:
            return log.read()

    def stop(self):
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=20) == 0, self.log()
        assert not os.path.exists(self.socket)
        return time.monotonic() - started


class World:
    def __init__(self, folder):
        self.folder = folder
        self.vmpack, self.vmserve = tool("VMPACK"), tool("VMSERVE")
        self.repository = os.path.join(folder, "repo")
        self.images = {}
        run(self.vmpack, "init", self.repository)

    def ingest(self, reference, seed, image_bytes=IMAGE_BYTES):
        image = os.path.join(self.folder, reference.replace(":", "-") + ".raw")
        make_image(image, seed, image_bytes)
        run(self.vmpack, "ingest", image, reference, "--repo", self.repository, "--format", "raw", "--no-os")
        with open(image, "rb") as file:
            self.images[reference] = (image, file.read())
        return image


# ---- what clients see; each takes (world, server) ----

def lists_every_reference(world, server):
    listed = run("nbdinfo", "--list", server.unix_uri).stdout
    for reference in world.images:
        assert f'export="{reference}"' in listed, listed
    exports = json.loads(run("nbdinfo", "--list", "--json", server.tcp_uri).stdout)["exports"]
    assert [e["export-name"] for e in exports] == sorted(world.images), exports
    assert all(e["is_read_only"] and e["export-size"] == IMAGE_BYTES for e in exports), exports


def tells_of_one_export(world, server):
    info = json.loads(run("nbdinfo", "--json", server.uri("web:v1")).stdout)["exports"][0]
    assert info["export-size"] == IMAGE_BYTES and info["is_read_only"] and not info["can_multi_conn"], info
    assert info["can_cache"] and info["can_df"] and info["contexts"] == ["base:allocation"], info
    assert (info["block_size_minimum"], info["block_size_preferred"]) == (1, 4096), info
    assert info["block_size_maximum"] == 32 * MIB, info
    fixed = digest_name(server, "web:v1")
    assert json.loads(run("nbdinfo", "--json", server.uri(fixed)).stdout)["exports"][0]["can_multi_conn"]


def digest_name(server, reference):
    """The name of a reference that never moves, from the list's descriptions."""
    exports = json.loads(run("nbdinfo", "--list", "--json", server.unix_uri).stdout)["exports"]
    return next(e["description"] for e in exports if e["export-name"] == reference).split(",")[0]


def maps_zeros_and_data(world, server):
    _, content = world.images["web:v1"]
    end = 0
    for extent in json.loads(run("nbdinfo", "--map", "--json", server.uri("web:v1")).stdout):
        offset, length, zero = extent["offset"], extent["length"], extent["type"] == 3
        assert offset == end and extent["type"] in (0, 3), extent
        assert not zero or not any(content[offset:offset + length]), extent
        end = offset + length
    assert end == IMAGE_BYTES


def copies_the_image(world, server):
    image, _ = world.images["web:v1"]
    copy = os.path.join(world.folder, "copy.raw")
    fixed = digest_name(server, "web:v1")
    for uri, options in ((server.uri("web:v1"), []), (server.uri(fixed), ["--connections=4"]),
                         (server.tcp(fixed), ["--connections=4", "--requests=64"]),
                         (server.tcp("web:v1"), ["--synchronous"]),
                         (server.uri("web:v1"), ["--request-size=33554432"])):
        if os.path.exists(copy):
            os.remove(copy)
        run("nbdcopy", *options, uri, copy)
        run("cmp", image, copy)


def compares_equal_for_qemu(world, server):
    image, _ = world.images["web:v1"]
    other, _ = world.images["web:v2"]
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, server.uri("web:v1"))
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, server.tcp("web:v1"))
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", other, server.uri("web:v1"), code=1)
    info = json.loads(run("qemu-img", "info", "--output=json", server.uri("web:v1")).stdout)
    assert info["virtual-size"] >= IMAGE_BYTES and info["format"] == "raw", info
    _, content = world.images["web:v1"]
    for extent in json.loads(run("qemu-img", "map", "--output=json", "-f", "raw", server.uri("web:v1")).stdout):
        if extent["zero"]:
            assert not any(content[extent["start"]:extent["start"] + extent["length"]]), extent
    converted = os.path.join(world.folder, "converted.raw")
    run("qemu-img", "convert", "-f", "raw", "-O", "raw", server.uri("web:v1"), converted)
    run("cmp", "-n", str(IMAGE_BYTES), image, converted)


def connect(uri, structured=True):
    handle = nbd.NBD()
    handle.set_request_structured_replies(structured)
    if structured:
        handle.add_meta_context("base:allocation")
    handle.connect_uri(uri)
    return handle


def read_whole(handle, length, offset):
    """A read whose reply must come in one chunk."""
    return handle.pread_structured(length, offset, lambda *chunk: 0, nbd.CMD_FLAG_DF)


def reads_at_odd_offsets(world, server, structured=True):
    _, content = world.images["web:v1"]
    handle = connect(server.uri("web:v1"), structured)
    assert handle.get_size() == IMAGE_BYTES
    generator = random.Random(3)
    ranges = [(offset, min(generator.randrange(1, 3 * MIB), IMAGE_BYTES - offset))
              for offset in range(0, IMAGE_BYTES, 7 * MIB + 1)]
    ranges += [(generator.randrange(0, IMAGE_BYTES - 9000), generator.randrange(1, 9000)) for _ in range(1000)]
    ranges += [(0, 1), (IMAGE_BYTES - 1, 1), (511, 2), (0, 32 * MIB), (IMAGE_BYTES - 32 * MIB, 32 * MIB)]
    for offset, length in ranges:
        assert handle.pread(length, offset) == content[offset:offset + length], (offset, length)
        if structured:
            assert read_whole(handle, length, offset) == content[offset:offset + length], (offset, length)
    handle.shutdown()


def reads_without_structured_replies(world, server):
    reads_at_odd_offsets(world, server, structured=False)


def answers_four_connections_at_once(world, server):
    _, content = world.images["web:v1"]
    fixed = digest_name(server, "web:v1")
    failures = []

    def read_much(number):
        try:
            handle = connect(server.tcp(fixed) if number % 2 else server.uri(fixed))
            generator = random.Random(number)
            for _ in range(100):
                batch = []
                for _ in range(16):
                    offset = generator.randrange(0, IMAGE_BYTES - 70000)
                    buffer = nbd.Buffer(generator.randrange(1, 70000))
                    batch.append((offset, buffer, handle.aio_pread(buffer, offset)))
                while handle.aio_in_flight():
                    handle.poll(-1)
                for offset, buffer, cookie in batch:
                    assert handle.aio_command_completed(cookie)
                    assert buffer.to_bytearray() == content[offset:offset + len(buffer)], offset
            handle.shutdown()
        except Exception as error:  # told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=read_much, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def errors(function, *arguments):
    try:
        function(*arguments)
    except nbd.Error as error:
        return error.errno
    return None


def refuses_what_a_reader_must_not_do(world, server):
    handle = nbd.NBD()
    handle.set_strict_mode(0)
    handle.add_meta_context("base:allocation")
    handle.connect_uri(server.uri("web:v1"))
    assert errors(handle.pwrite, b"x" * 4096, 0) == "EPERM"
    assert errors(handle.trim, 512, 0) == "EPERM"
    assert errors(handle.zero, 512, 0) == "EPERM"
    assert errors(handle.pread, 512, IMAGE_BYTES - 511) == "EINVAL"
    assert errors(handle.pread, 512, 2**63 - 1) == "EINVAL"
    assert errors(handle.cache, 512, IMAGE_BYTES) == "EINVAL"
    assert errors(handle.pread, 33 * MIB, 0) == "EOVERFLOW"
    handle.flush()
    handle.cache(MIB, MIB)
    _, content = world.images["web:v1"]
    assert handle.pread(512, 0) == content[:512]
    handle.shutdown()


def refuses_unknown_exports(world, server):
    for name in ("nobody", "web:v9", "web@ffffffff", "../../etc/passwd", ""):
        handle = nbd.NBD()
        assert errors(handle.connect_uri, server.uri(name)) == "ENOENT", name
    handle = nbd.NBD()
    handle.set_opt_mode(True)
    handle.connect_uri(server.uri("nobody"))
    assert errors(handle.opt_go) == "ENOENT"
    handle.set_export_name("web:v1")
    handle.opt_go()
    assert handle.get_size() == IMAGE_BYTES


def serves_new_references_at_once(world, server):
    image = world.ingest("young:v1", 99)
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, server.uri("young:v1"))
    assert 'export="young:v1"' in run("nbdinfo", "--list", server.unix_uri).stdout


def starts_only_where_it_can(world, server):
    def fails(code, text, *options):
        done = run(world.vmserve, *options, code=code)
        assert text in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr

    port = server.tcp_uri.rsplit("/", 1)[-1]
    fails(1, "in use", "--repo", world.repository, "--nbd", port)
    fails(1, "in use", "--repo", world.repository, "--nbd", "unix:" + server.socket)
    fails(1, "", "--repo", os.path.join(world.folder, "nowhere"), "--nbd", "127.0.0.1:0")
    fails(1, "", "--repo", "/tmp", "--nbd", "127.0.0.1:0")
    fails(2, "bad address", "--repo", world.repository, "--nbd", "127.0.0.1:x")


def damage_is_never_served(world, server_unused):
    """Every kind of file in turn: an error, a log line that names it, and right bytes elsewhere."""
    _, content = world.images["web:v1"]
    repository = os.path.join(world.folder, "damaged")
    shutil.copytree(world.repository, repository)
    packs = [os.path.join(folder, name) for folder, _, names in os.walk(os.path.join(repository, "packs"))
             for name in names]
    for pack in packs:
        with open(pack, "r+b") as file:
            # Only the first half: the block map's nodes lie at the end.
            for offset in range(4096, os.path.getsize(pack) // 2, 1 * MIB):
                file.seek(offset)
                byte = file.read(1)
                file.seek(offset)
                file.write(bytes([byte[0] ^ 1]))
    folder = os.path.join(world.folder, "damaged-run")
    os.mkdir(folder)
    server = Server(world.vmserve, repository, folder)
    try:
        handle = connect(server.uri("web:v1"))
        failed = served = 0
        for offset in range(0, IMAGE_BYTES, 64 * KIB):
            length = min(64 * KIB, IMAGE_BYTES - offset)
            try:
                assert handle.pread(length, offset) == content[offset:offset + length], offset
                served += 1
            except nbd.Error as error:
                assert error.errno == "EIO", error
                failed += 1
        assert failed > 0 and served > 0, (failed, served)
        assert any(os.path.basename(pack) in server.log() for pack in packs), server.log()
    finally:
        server.stop()


def stops_under_load(world, server_unused):
    folder = os.path.join(world.folder, "stop-run")
    os.mkdir(folder)
    server = Server(world.vmserve, world.repository, folder)
    copies = [subprocess.Popen(["nbdcopy", server.uri("web:v1"), "null:"], stderr=subprocess.DEVNULL) for _ in range(3)]
    stray = socket.create_connection(server.tcp_uri.rsplit("/", 1)[-1].rsplit(":", 1))
    time.sleep(0.05)
    seconds = server.stop()
    assert seconds < 6, seconds
    stray.close()
    for copy in copies:
        copy.wait(timeout=20)


def lacks(*programs):
    """Says so when one of them is not installed."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        print(f"skipped: not installed: {', '.join(missing)}")
    return bool(missing)


def check_all(checks, world, server):
    for check in checks:
        started = time.monotonic()
        try:
            check(world, server)
        except BaseException:
            print(f"FAILED {check.__name__}; the server said:\n{server.log()}", flush=True)
            server.process.kill()
            raise
        print(f"ok {check.__name__} ({time.monotonic() - started:.1f} s)", flush=True)


def main():
    if lacks("nbdinfo", "nbdcopy", "qemu-img", "cmp"):
        return 77
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder)
        world.ingest("web:v1", 1)
        world.ingest("web:v2", 2)
        server_folder = os.path.join(folder, "run")
        os.mkdir(server_folder)
        server = Server(world.vmserve, world.repository, server_folder)
        checks = (lists_every_reference, tells_of_one_export, maps_zeros_and_data, copies_the_image,
                  compares_equal_for_qemu, reads_at_odd_offsets, reads_without_structured_replies,
                  answers_four_connections_at_once, refuses_what_a_reader_must_not_do, refuses_unknown_exports,
                  serves_new_references_at_once, starts_only_where_it_can, damage_is_never_served, stops_under_load)
        check_all(checks, world, server)
        server.stop()
        assert "internal error" not in server.log(), server.log()
    return 0


if __name__ == "__main__":
    sys.exit(main())
