#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmpack doctor on this host, and the lines that it prints: QEMU must boot with them, and XML parsers must take them.

The image is a boot sector that ends QEMU with a code of its own. Needs $VMPACK, $VMSERVE, QEMU, qemu-img, libnbd. 77: not here.
"""
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

from real_clients import Server, run, tool

MIB = 1 << 20
# mov al, 0x10; out 0xf4, al; hlt: the device isa-debug-exit makes it exit code (0x10 << 1) | 1.
BOOT_CODE, BOOTED = bytes([0xB0, 0x10, 0xE6, 0xF4, 0xF4, 0xEB, 0xFD]), 33


class World:
    def __init__(self, folder):
        self.folder, self.vmpack = folder, tool("VMPACK")
        self.repository = os.path.join(folder, "repo")
        image = os.path.join(folder, "boot.raw")
        with open(image, "wb") as file:
            file.write(BOOT_CODE.ljust(510, b"\0") + b"\x55\xaa")
            file.truncate(4 * MIB)
        run(self.vmpack, "init", self.repository)
        run(self.vmpack, "ingest", image, "boot:v1", "--repo", self.repository, "--format", "raw", "--no-os")
        self.server = Server(tool("VMSERVE"), self.repository, folder)

    def doctor(self, *arguments, code=0):
        done = run(self.vmpack, "doctor", *arguments, "--repo", self.repository, "--json", code=code)
        return json.loads(done.stdout)


def verdicts(facts):
    return {check["name"]: check["verdict"] for check in facts["checks"]}


def boots(line, world):
    command = shlex.split(line) + ["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-no-reboot"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
                          env=dict(os.environ, TMPDIR=world.folder), text=True)
    assert done.returncode == BOOTED, f"{line} ended with {done.returncode}:\n{done.stdout}"


def finds_what_is_there(world):
    facts = world.doctor("boot:v1", "--server", world.server.tcp_uri)
    found = verdicts(facts)
    assert found["qemu-img"] == found["repository"] == found["snapshot"] == found["server"] == "ok", facts
    assert found["KVM"] in ("ok", "warning"), facts


def says_what_to_do_about_what_is_not(world):
    facts = world.doctor("boot:v1", "--server", "nbd://127.0.0.1:1", code=3)
    check = next(check for check in facts["checks"] if check["name"] == "server")
    assert check["verdict"] == "problem" and "vmserve" in check["advice"], check
    assert verdicts(world.doctor("boot:v9", code=3))["snapshot"] == "problem"
    run(world.vmpack, "doctor", "--repo", world.repository, "--server", "http://x", code=2)


def qemu_boots_with_the_line(world):
    for uri in (world.server.tcp_uri, world.server.unix_uri):
        lines = world.doctor("boot:v1", "--server", uri)["boot"]
        assert "boot@" in lines["qemu"] and "boot:v1" not in lines["qemu"], lines["qemu"]
        boots(lines["qemu"], world)


def an_overlay_boots_too(world):
    line = world.doctor("boot:v1", "--server", world.server.tcp_uri)["boot"]["overlay"]
    command = shlex.split(line)
    command[-1] = os.path.join(world.folder, "overlay.qcow2")
    run(*command)
    boots(f"qemu-system-x86_64 -accel tcg -m 64 -nodefaults -nographic -drive file={command[-1]},format=qcow2,if=virtio", world)


def libvirt_gets_xml(world):
    for uri in ("nbd://[::1]:10809", "nbds://images.example:10810", world.server.unix_uri):
        lines = json.loads(run(world.vmpack, "doctor", "boot:v1", "--repo", world.repository, "--json", "--server", uri,
                               code=0 if uri == world.server.unix_uri else 3).stdout)["boot"]
        disk = xml.fromstring(lines["libvirt_disk"])
        domain = xml.fromstring(lines["libvirt_domain"])
        for source in (disk.find("source"), domain.find("devices/disk/backingStore/source")):
            assert source.get("protocol") == "nbd" and source.get("name").startswith("boot@"), lines
            assert (source.get("tls") == "yes") == uri.startswith("nbds:"), lines
            host = source.find("host")
            assert host.get("socket") == world.server.socket if uri.startswith("nbd+unix") else host.get("port").startswith("108"), lines
        assert domain.find("name").text == "boot", lines
        assert shlex.split(lines["virt_install"])[0] == "virt-install", lines


def main():
    for program in ("qemu-system-x86_64", "qemu-img"):
        if not shutil.which(program):
            print(f"skipped: {program} is not installed")
            return 77
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder)
        for promise in (finds_what_is_there, says_what_to_do_about_what_is_not, qemu_boots_with_the_line, an_overlay_boots_too,
                        libvirt_gets_xml):
            promise(world)
            print(f"ok: {promise.__name__}", flush=True)
        world.server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
