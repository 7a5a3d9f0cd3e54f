#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmpack and vmserve on a real Ceph cluster, by RADOS and by its S3 gateway.

cluster_test.py PART, in the environment of with_cluster.sh:
  whole    a repository's life on either store: init, ingest, list, verify, restore, serve, forget, gc
  osd      an OSD is killed while an image is ingested and another is read through vmserve
  writers  three machines (network namespaces) ingest three builds at once through the gateway; with three images as
           more arguments these
"""
import filecmp
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

SKIPPED = 77
IMAGES = [pathlib.Path(image) for image in sys.argv[2:]]
PATIENCE = 7200 if IMAGES else 250
MIB = 1024 * 1024
CEPH = pathlib.Path(__file__).resolve().parent / "ceph.sh"
try:
    VMPACK, VMSERVE = os.environ["VMPACK"], os.environ["VMSERVE"]
    CLUSTER, POOL, BUCKET = (os.environ[f"VMPACK_CLUSTER{part}"] for part in ("", "_POOL", "_BUCKET"))
    import nbd
except (KeyError, ImportError) as missing:
    print(f"skipped: {missing}")
    sys.exit(SKIPPED)


def run(*command, code=0, timeout=PATIENCE, **options):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False, timeout=timeout, **options)
    if done.returncode != code:
        raise AssertionError(f"{' '.join(map(str, command))} exited with {done.returncode}, not {code}:\n"
                             f"{done.stdout}{done.stderr}")
    return done.stdout


def check(condition, what):
    if not condition:
        raise AssertionError(f"not so: {what}")
    print(f"ok: {what}", flush=True)


def ceph(command, *arguments):
    return run(CEPH, command, CLUSTER, *arguments)


# Prefixes that no run before has used.
def rados(prefix, user="vmpack"):
    return f"rados://{POOL}/{prefix}-{os.getpid()}?id={user}&keyring={CLUSTER}/client.{user}.keyring"


def s3(prefix):
    return f"s3://{BUCKET}/{prefix}-{os.getpid()}"


class Repository:
    def __init__(self, folder, location, serve_location=None):
        self.folder = pathlib.Path(folder)
        self.location = location
        self.serve_location = serve_location or location
        self.environment = {**os.environ, "VMPACK_REPO": location, "XDG_CACHE_HOME": str(self.folder / "cache")}
        self.vmpack("init", location)

    def vmpack(self, *arguments, code=0):
        return run(VMPACK, *arguments, code=code, env=self.environment)

    def facts(self, *arguments):
        return json.loads(self.vmpack(*arguments, "--json"))

    def ingest(self, image, reference):
        self.vmpack("ingest", "--no-os", "--quiet", image, reference)

    def check_restores(self, reference, image):
        out = self.folder / "restored.raw"
        self.vmpack("restore", "--quiet", reference, out)
        check(filecmp.cmp(image, out, shallow=False), f"{reference} of {self.location} is restored bit for bit")
        out.unlink()


def stored_bytes(repository):
    return repository.facts("stats")["repository_bytes"]


class Server:
    """vmserve on a unix socket."""

    def __init__(self, repository, *options):
        self.socket = repository.folder / f"nbd-{random.randrange(1 << 32)}"
        self.process = subprocess.Popen(
            [VMSERVE, "--repo", repository.serve_location, "--nbd", f"unix:{self.socket}", *options],
            env=repository.environment)

    def __enter__(self):
        deadline = time.monotonic() + 30
        while not self.socket.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, "vmserve did not start"
            time.sleep(0.05)
        return self

    def __exit__(self, *error):
        self.process.terminate()
        check(self.process.wait(60) == 0, "vmserve ends as it is asked to")

    def connect(self, reference):
        client = nbd.NBD()
        client.set_export_name(reference)
        client.connect_unix(str(self.socket))
        return client


def build_tree(folder, build):
    """Files of a build: most are the same in all builds, some are its own, some have changed in the middle."""
    common, own = random.Random(1), random.Random(1000 + build)
    for number in range(240):
        path = folder / f"usr/lib/{number % 12:02}/{number:03}.so"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = bytearray(common.randbytes(common.randrange(1000, 300_000)))
        if number % 40 == build:
            middle = len(data) // 2
            data[middle:middle + 100] = own.randbytes(100)
        path.write_bytes(data)
    for number in range(20):
        path = folder / f"srv/build-{build}/{number}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(own.randbytes(own.randrange(1000, 200_000)))


def make_image(folder, build):
    tree, image = folder / f"tree-{build}", folder / f"build-{build}.raw"
    build_tree(tree, build)
    run("mke2fs", "-q", "-t", "ext4", "-d", tree, image, "96M", env={**os.environ, "PATH": os.environ["PATH"] + ":/sbin:/usr/sbin"})
    return image


def make_random_image(path, seed, megabytes):
    generator = random.Random(seed)
    with open(path, "wb") as image:
        for _ in range(megabytes):
            image.write(generator.randbytes(MIB))
    return path


def whole(folder):
    first, second = make_image(folder, 0), make_image(folder, 1)
    for repository in (Repository(folder, rados("whole"), rados("whole", "reader")),
                       Repository(folder, s3("whole"))):
        print(f"== {repository.location}", flush=True)
        repository.ingest(first, "web:v1")
        before = stored_bytes(repository)
        repository.ingest(second, "web:v2")
        added = stored_bytes(repository) - before
        check(added < before / 2, f"the second build added {added} bytes to {before}")
        listed = {one["reference"] for one in repository.facts("list")["references"]}
        check(listed == {"web:v1", "web:v2"}, "both builds are listed")
        repository.vmpack("verify", "--quiet")
        repository.check_restores("web:v1", first)
        repository.check_restores("web:v2", second)
        with Server(repository) as server:
            client = server.connect("web:v2")
            content = second.read_bytes()
            served = b"".join(bytes(client.pread(MIB, offset)) for offset in range(0, len(content), MIB))
            client.shutdown()
            check(served == content, "vmserve serves the image as it is")
        repository.vmpack("init", repository.location, code=1)
        check(repository.vmpack("show", "web:v1"), "a second init changes nothing")
        full = stored_bytes(repository)
        repository.vmpack("forget", "web:v1")
        repository.vmpack("gc", "--grace", "0s")
        repository.vmpack("verify", "--quiet")
        repository.check_restores("web:v2", second)
        check(stored_bytes(repository) < full, "what is forgotten is collected, and the rest is there")


class RandomReader(threading.Thread):
    """Reads at random places of an export, and compares with the image."""

    def __init__(self, server, reference, image, seed):
        super().__init__()
        self.client = server.connect(reference)
        self.content = image.read_bytes()
        self.random = random.Random(seed)
        self.stop = threading.Event()
        self.reads, self.wrong, self.slowest = 0, 0, 0.0
        self.error = None

    def run(self):
        try:
            while not self.stop.is_set():
                offset = self.random.randrange(len(self.content) // 65536) * 65536
                began = time.monotonic()
                data = bytes(self.client.pread(65536, offset))
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.wrong += data != self.content[offset:offset + 65536]
                self.reads += 1
        except nbd.Error as error:
            self.error = error


def osd(folder):
    old = make_random_image(folder / "old.raw", 1, 192)
    new = make_random_image(folder / "new.raw", 2, 192)
    for number, repository in enumerate((Repository(folder, rados("osd")), Repository(folder, s3("osd")))):
        print(f"== {repository.location}", flush=True)
        repository.ingest(old, "old:v1")
        with Server(repository, "--cache", "64M") as server:
            readers = [RandomReader(server, "old:v1", old, seed) for seed in range(2)]
            for reader in readers:
                reader.start()
            ingest = subprocess.Popen([VMPACK, "ingest", "--no-os", "--quiet", new, "new:v1"], env=repository.environment)
            time.sleep(0.5)
            check(ingest.poll() is None, "the ingest is under way when an OSD is killed")
            ceph("kill-osd", number)
            check(ingest.wait(120) == 0, "the ingest ends well")
            before = sum(reader.reads for reader in readers)
            time.sleep(3)
            for reader in readers:
                reader.stop.set()
            for reader in readers:
                reader.join(60)
            check(not any(reader.is_alive() or reader.error or reader.wrong for reader in readers),
                  f"{sum(reader.reads for reader in readers)} reads meanwhile all gave what the image holds; the slowest took "
                  f"{max(reader.slowest for reader in readers):.1f} s")
            check(sum(reader.reads for reader in readers) > before, "reading goes on without the OSD")
        repository.vmpack("verify", "--quiet")
        repository.check_restores("new:v1", new)
        ceph("start-osd", number)
        ceph("wait-clean")
        repository.vmpack("verify", "--quiet")
        check(True, "nothing is lost")


class Machines:
    """Network namespaces on a bridge, on which an S3 gateway listens."""

    NETWORK = "10.213.77"

    def __init__(self, count):
        self.bridge = f"vmp{os.getpid() % 100000}"
        self.names = [f"{self.bridge}-{number}" for number in range(count)]
        self.made = []

    def __enter__(self):
        try:
            self.add_bridge()
            for number, name in enumerate(self.names):
                self.add_machine(number, name)
        except (AssertionError, FileNotFoundError) as error:
            self.__exit__()
            print(f"skipped: no network namespaces here ({error})")
            sys.exit(SKIPPED)
        try:
            self.add_gateway()
        except AssertionError:
            self.__exit__()
            raise
        return self

    def add_gateway(self):
        with socket.socket() as probe:
            probe.bind((f"{self.NETWORK}.1", 0))
            address = f"{self.NETWORK}.1:{probe.getsockname()[1]}"
        ceph("gateway", self.bridge, address)
        self.endpoint = f"http://{address}"

    def add_bridge(self):
        run("ip", "link", "add", self.bridge, "type", "bridge")
        self.made.append(["link", "delete", self.bridge])
        run("ip", "address", "add", f"{self.NETWORK}.1/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")

    def add_machine(self, number, name):
        inside, outside = f"{self.bridge}i{number}", f"{self.bridge}o{number}"
        run("ip", "netns", "add", name)
        self.made.append(["netns", "delete", name])
        run("ip", "link", "add", inside, "netns", name, "type", "veth", "peer", "name", outside)
        run("ip", "link", "set", outside, "master", self.bridge, "up")
        run("ip", "-n", name, "address", "add", f"{self.NETWORK}.{number + 10}/24", "dev", inside)
        run("ip", "-n", name, "link", "set", inside, "up")

    def __exit__(self, *error):
        for step in reversed(self.made):
            subprocess.run(["ip", *step], check=False)


def ingest_at_once(folder, machines, images, repository):
    """Each machine one image, all at the same time."""
    ingests, began = [], time.monotonic()
    for build, (name, image) in enumerate(zip(machines.names, images)):
        environment = {**repository.environment, "AWS_ENDPOINT_URL": machines.endpoint, "XDG_CACHE_HOME": str(folder / name)}
        ingests.append(subprocess.Popen(["ip", "netns", "exec", name, VMPACK, "ingest", "--no-os", "--quiet", image,
                                         f"build:{build}"], env=environment))
    check([ingest.wait(PATIENCE) for ingest in ingests] == [0, 0, 0],
          f"three machines ingest three builds at once, in {time.monotonic() - began:.1f} s")
    repository.vmpack("verify", "--quiet")
    for build, image in enumerate(images):
        repository.check_restores(f"build:{build}", image)


def writers(folder):
    images = IMAGES or [make_image(folder, build) for build in range(3)]
    alone = Repository(folder, s3("one-after-another"))
    began = time.monotonic()
    for build, image in enumerate(images):
        alone.ingest(image, f"build:{build}")
    one_by_one = stored_bytes(alone)
    print(f"one after another they take {one_by_one / 1e6:.1f} MB and {time.monotonic() - began:.1f} s", flush=True)
    ratios = []
    with Machines(3) as machines:
        # A machine that gets no processor for a while cannot tell the others in time what it is about to store.
        while len(ratios) < 3 and (not ratios or ratios[-1] > 1.05):
            together = Repository(folder, s3(f"at-once-{len(ratios)}"))
            ingest_at_once(folder, machines, images, together)
            ratios.append(stored_bytes(together) / one_by_one)
            print(f"at once they take {ratios[-1]:.3f} times what they take one after another", flush=True)
    check(min(ratios) <= 1.05, "at once they take at most five percent more than one after another")


def main():
    with tempfile.TemporaryDirectory(prefix="vmpack-cluster-test-") as folder:
        {"whole": whole, "osd": osd, "writers": writers}[sys.argv[1]](pathlib.Path(folder))


main()
