#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Real NBD clients against vmserve with TLS: certificates, certificates of clients, pre-shared keys, and none of them.

Needs what real_clients.py needs, and nbdkit, nbdfuse, qemu-io, fio, openssl and GnuTLS's psktool. Exit code 77: not here.
"""
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import nbd
from real_clients import MIB, Server, World, check_all, errors, lacks, run

IMAGE_BYTES = 24 * MIB + 512
NAME = "web:v1"


def make_certificates(folder):
    """What QEMU, libnbd and nbdkit expect in one folder: an authority, a server, and a client called host-7."""
    os.mkdir(folder)

    def path(name):
        return os.path.join(folder, name)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run("openssl", "req", "-x509", *curve, "-days", "30", "-subj", "/CN=authority", "-keyout", path("ca-key.pem"), "-out",
        path("ca-cert.pem"))
    for who, subject, extensions in (("server", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1\n"
                                      "extendedKeyUsage=serverAuth\n"), ("client", "host-7", "extendedKeyUsage=clientAuth\n")):
        run("openssl", "req", *curve, "-subj", "/CN=" + subject, "-keyout", path(who + "-key.pem"), "-out", path(who + ".csr"))
        with open(path(who + ".ext"), "w") as file:
            file.write(extensions)
        run("openssl", "x509", "-req", "-in", path(who + ".csr"), "-CA", path("ca-cert.pem"), "-CAkey", path("ca-key.pem"),
            "-CAcreateserial", "-days", "30", "-extfile", path(who + ".ext"), "-out", path(who + "-cert.pem"))


class Kind:
    """A way to reach the server, written down for each client."""

    def __init__(self, name, uri_scheme, user, query, qemu_object, nbdkit_options, folder=None):
        self.name, self.uri_scheme, self.user, self.query = name, uri_scheme, user, query
        self.qemu_object, self.nbdkit_options = qemu_object, nbdkit_options
        self.folder = folder  # of certificates

    def tcp(self, server, export=NAME):
        port = server.tcp_uri.rsplit(":", 1)[-1]
        return f"{self.uri_scheme}://{self.user}localhost:{port}/{export}{'?' + self.query if self.query else ''}"

    def unix(self, server, export=NAME):
        return f"{self.uri_scheme}+unix://{self.user}localhost/{export}?socket={server.socket}&{self.query}"

    def qemu(self, server, export=NAME):
        port = server.tcp_uri.rsplit(":", 1)[-1]
        options = f"driver=nbd,server.type=inet,server.host=localhost,server.port={port},export={export}"
        if not self.qemu_object:
            return ["--image-opts", options]
        return ["--object", self.qemu_object, "--image-opts", options + ",tls-creds=tls0"]


class TlsWorld(World):
    def __init__(self, folder):
        super().__init__(folder)
        self.ingest(NAME, 1, IMAGE_BYTES)
        self.image, self.content = self.images[NAME]
        self.certificates = os.path.join(folder, "certificates")
        make_certificates(self.certificates)
        self.keys = os.path.join(folder, "keys.psk")
        run("psktool", "-u", "alice", "-p", self.keys)
        # A client that has no certificate of its own.
        self.authority = os.path.join(folder, "authority")
        os.mkdir(self.authority)
        shutil.copy(os.path.join(self.certificates, "ca-cert.pem"), self.authority)
        self.plain = Kind("plain", "nbd", "", "", None, [])
        self.x509 = self.certificate_kind("certificate of the server", self.authority)
        self.mutual = self.certificate_kind("certificates of both", self.certificates)
        self.psk = Kind("key", "nbds", "alice@", "tls-psk-file=" + self.keys,
                        f"tls-creds-psk,id=tls0,dir={folder},endpoint=client,username=alice",
                        ["tls=require", "tls-psk=" + self.keys, "tls-username=alice"])

    @staticmethod
    def certificate_kind(name, folder):
        return Kind(name, "nbds", "", "tls-certificates=" + folder, f"tls-creds-x509,id=tls0,dir={folder},endpoint=client",
                    ["tls=require", "tls-certificates=" + folder], folder)

    def without_files(self, server, kind):
        """A URI that names no files, for clients that allow none, and an environment in which they are found anyway."""
        home = tempfile.mkdtemp(dir=self.folder)
        if kind.folder:
            os.mkdir(os.path.join(home, ".pki"))
            shutil.copytree(kind.folder, os.path.join(home, ".pki", "libnbd"))
        return kind.tcp(server).split("?")[0], {**os.environ, "HOME": home}

    def serve(self, name, *options):
        folder = os.path.join(self.folder, name)
        os.mkdir(folder)
        return Server(self.vmserve, self.repository, folder, *options)


# ---- what each client sees ----

def libnbd_reads(world, server, kind):
    for uri in (kind.tcp(server), kind.unix(server)):
        info = json.loads(run("nbdinfo", "--json", uri).stdout)
        assert info["TLS"] == (kind.uri_scheme == "nbds"), info
        assert info["exports"][0]["export-size"] == IMAGE_BYTES, info
        assert NAME in run("nbdinfo", "--list", uri).stdout
        copy = os.path.join(world.folder, "copy.raw")
        run("nbdcopy", "--synchronous", uri, copy)
        run("cmp", world.image, copy)
        run("nbdcopy", "--requests=64", "--request-size=1048576", uri, copy)
        run("cmp", world.image, copy)
        os.remove(copy)


def qemu_reads(world, server, kind):
    where = kind.qemu(server)
    info = json.loads(run("qemu-img", "info", "--output=json", *where).stdout)
    assert info["virtual-size"] == IMAGE_BYTES, info
    copy = os.path.join(world.folder, "copy.raw")
    run("qemu-img", "convert", "-O", "raw", *where, copy)
    run("cmp", world.image, copy)
    os.remove(copy)
    at = IMAGE_BYTES - 4096
    done = run("qemu-io", "-r", "-c", f"read -v {at} 512", *where)
    assert f"read 512/512 bytes at offset {at}" in done.stdout, done.stdout
    assert world.content[at:at + 4].hex(" ") in done.stdout, done.stdout


def nbdkit_reads(world, server, kind):
    """nbdkit's nbd plugin is our client, and nbdcopy is its client."""
    port = server.tcp_uri.rsplit(":", 1)[-1]
    copy = os.path.join(world.folder, "copy.raw")
    run("nbdkit", "-r", "-U", "-", "nbd", "hostname=localhost", "port=" + port, "export=" + NAME, *kind.nbdkit_options, "--run",
        f'nbdcopy "$uri" {copy}')
    run("cmp", world.image, copy)
    os.remove(copy)


def nbdfuse_reads(world, server, kind):
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        print("no /dev/fuse: nbdfuse was not tried")
        return
    folder = os.path.join(world.folder, "mounted")
    os.makedirs(folder, exist_ok=True)
    uri, environment = world.without_files(server, kind)
    mounted = subprocess.Popen(["nbdfuse", "-r", os.path.join(folder, "image"), uri], env=environment)
    try:
        deadline = time.monotonic() + 20
        while not os.path.ismount(folder):
            assert mounted.poll() is None and time.monotonic() < deadline, "nbdfuse did not mount"
            time.sleep(0.02)
        with open(os.path.join(folder, "image"), "rb") as image:
            assert hashlib.sha256(image.read()).digest() == hashlib.sha256(world.content).digest()
    finally:
        subprocess.run(["fusermount3", "-u", folder], check=False, stderr=subprocess.DEVNULL)
        mounted.wait(timeout=20)


def fio_reads(world, server, kind):
    uri, environment = world.without_files(server, kind)
    done = subprocess.run(
        ["fio", "--name=read", "--ioengine=nbd", "--uri=" + uri, "--rw=randread", "--bs=4k", "--iodepth=16",
         "--number_ios=2000", "--output-format=json"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        env=environment, cwd=world.folder, check=False)
    assert done.returncode == 0, done.stdout
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
    assert job["error"] == 0 and job["read"]["total_ios"] == 2000, done.stdout


CLIENTS = (libnbd_reads, qemu_reads, nbdkit_reads)
# These two hand a URI to libnbd that may name no files. The folders where it looks by itself depend on who it runs for.
CLIENTS_WITHOUT_FILES = (nbdfuse_reads, fio_reads)


def read_by(clients, world, server, kinds):
    for kind in kinds:
        for client in clients:
            started = time.monotonic()
            client(world, server, kind)
            print(f"  {client.__name__} with {kind.name} ({time.monotonic() - started:.1f} s)", flush=True)


def refused(world, server, kinds):
    for kind in kinds:
        assert run_fails("nbdinfo", kind.tcp(server)), kind.name
        assert run_fails("qemu-img", "info", *kind.qemu(server)), kind.name


def run_fails(*command):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False).returncode != 0


# ---- the servers ----

def certificates_are_required(world, _):
    server = world.serve("x509", "--tls", "require", "--tls-certificates", world.certificates)
    read_by(CLIENTS, world, server, [world.x509, world.mutual])
    read_by(CLIENTS_WITHOUT_FILES, world, server, [world.x509])
    refused(world, server, [world.plain, world.psk])
    server.stop()


def certificates_of_clients_are_required(world, _):
    server = world.serve("mutual", "--tls", "require", "--tls-certificates", world.certificates, "--tls-verify-peer")
    read_by(CLIENTS, world, server, [world.mutual])
    refused(world, server, [world.plain, world.x509, world.psk])
    assert "(certificate host-7)" in server.log(), server.log()
    server.stop()


def keys_are_required(world, _):
    server = world.serve("psk", "--tls", "require", "--tls-psk", world.keys)
    assert server.tcp_uri.startswith("nbds://") and server.unix_uri.startswith("nbds+unix:///"), server.unix_uri
    read_by(CLIENTS, world, server, [world.psk])
    refused(world, server, [world.plain, world.x509])
    assert "(key alice)" in server.log(), server.log()
    server.stop()


def keys_are_read_again_on_a_signal(world, _):
    keys = os.path.join(world.folder, "changing.psk")
    shutil.copy(world.keys, keys)
    server = world.serve("changing", "--tls", "require", "--tls-psk", keys)
    handle = nbd.NBD()
    handle.set_uri_allow_local_file(True)
    handle.connect_uri(world.psk.tcp(server))
    os.remove(keys)
    run("psktool", "-u", "bob", "-p", keys)
    server.process.send_signal(signal.SIGHUP)
    bob = world.psk.tcp(server).replace("alice@", "bob@").replace(world.keys, keys)
    deadline = time.monotonic() + 20
    while run_fails("nbdinfo", bob):
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.05)
    refused(world, server, [world.psk])
    assert handle.pread(512, 0) == world.content[:512], "a connection that had begun before was lost"
    server.stop()


def everything_is_offered(world, _):
    server = world.serve("offered", "--tls", "on", "--tls-certificates", world.certificates, "--tls-psk", world.keys)
    read_by(CLIENTS, world, server, [world.plain, world.x509, world.psk])
    read_by(CLIENTS_WITHOUT_FILES, world, server, [world.plain])
    server.stop()


def older_tls_is_enough(world, _):
    """The same clients, kept from TLS 1.3."""
    server = world.serve("older", "--tls", "require", "--tls-certificates", world.certificates, "--tls-psk", world.keys)
    priorities = os.path.join(world.folder, "gnutls.conf")
    with open(priorities, "w") as file:
        file.write("[overrides]\ndisabled-version = tls1.3\n")
    os.environ["GNUTLS_SYSTEM_PRIORITY_FILE"] = priorities
    try:
        read_by((libnbd_reads, qemu_reads), world, server, [world.x509, world.mutual, world.psk])
    finally:
        del os.environ["GNUTLS_SYSTEM_PRIORITY_FILE"]
    server.stop()


def a_server_without_tls_says_so(world, _):
    server = world.serve("without")
    read_by(CLIENTS, world, server, [world.plain])
    refused(world, server, [world.x509, world.psk])
    server.stop()


def rules_tell_clients_apart(world, _):
    world.ingest("secret:v1", 2, IMAGE_BYTES)
    config = os.path.join(world.folder, "vmserve.toml")
    with open(config, "w") as file:
        file.write('[[access]]\nexports = ["web:*"]\nclients = ["*"]\n'
                   '[[access]]\nexports = ["*"]\nclients = ["cert:host-*", "psk:alice"]\n')
    server = world.serve("rules", "--config", config, "--tls", "on", "--tls-certificates", world.certificates, "--tls-psk",
                         world.keys)
    for kind, sees in ((world.plain, False), (world.x509, False), (world.mutual, True), (world.psk, True)):
        listed = run("nbdinfo", "--list", "--json", kind.tcp(server, "")).stdout
        assert ("secret:v1" in listed) == sees, (kind.name, listed)
        handle = nbd.NBD()
        handle.set_uri_allow_local_file(True)
        assert errors(handle.connect_uri, kind.tcp(server, "secret:v1")) == (None if sees else "ENOENT"), kind.name
    server.stop()


class NoServer:
    process = subprocess.Popen(["true"])

    @staticmethod
    def log():
        return "(see its folder)"


def main():
    if lacks("nbdinfo", "nbdcopy", "nbdfuse", "nbdkit", "qemu-img", "qemu-io", "fio", "cmp", "openssl", "psktool"):
        return 77
    with tempfile.TemporaryDirectory() as folder:
        world = TlsWorld(folder)
        check_all((certificates_are_required, certificates_of_clients_are_required, keys_are_required,
                   keys_are_read_again_on_a_signal, everything_is_offered, older_tls_is_enough, a_server_without_tls_says_so,
                   rules_tell_clients_apart), world, NoServer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
