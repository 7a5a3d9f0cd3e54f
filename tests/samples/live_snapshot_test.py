#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The disk of a running QEMU is snapshotted twice by samples/live-snapshot.py, and comes back as it was.

There is no guest: QEMU itself writes to the disk.
"""
import filecmp
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
VMPACK = os.environ["VMPACK"]
SAMPLE = os.path.join(os.environ["VMPACK_SOURCE_DIR"], "samples", "live-snapshot.py")


def run(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)} failed: {done.stdout}{done.stderr}")
    return done.stdout


class Machine:
    """QEMU without a guest, with a disk that can be written to."""

    def __init__(self, folder, overlay):
        self.monitor = os.path.join(folder, "qmp")
        self.second = os.path.join(folder, "qmp2")
        self.process = subprocess.Popen([
            "qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none",
            "-qmp", f"unix:{self.monitor},server=on,wait=off", "-qmp", f"unix:{self.second},server=on,wait=off",
            "-blockdev", f"driver=qcow2,node-name=disk0,file.driver=file,file.filename={overlay}"])
        for _ in range(200):
            if os.path.exists(self.second):
                break
            time.sleep(0.05)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(self.second)
        self.lines = self.socket.makefile("r")
        self.lines.readline()
        self.command("qmp_capabilities")

    def command(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = json.loads(self.lines.readline())
            if "return" in answer or "error" in answer:
                break
        if "error" in answer:
            sys.exit(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    def write(self, request):
        line = {"command-line": f'qemu-io disk0 "{request}"'}
        said = self.command("human-monitor-command", **line)
        if said.strip():
            sys.exit(f"{request}: {said}")

    def stop(self):
        self.process.kill()
        self.process.wait()


def check(folder, repo, reference, overlay):
    """The snapshot is the disk as it is now."""
    flat = os.path.join(folder, "flat")
    restored = os.path.join(folder, "restored")
    run("qemu-img", "convert", "-U", "-O", "raw", overlay, flat)
    run(VMPACK, "restore", reference, restored, "--force", "--quiet", "--repo", repo)
    if not filecmp.cmp(flat, restored, shallow=False):
        sys.exit(f"{reference} is not the disk that the machine had")


def main(folder):
    base = os.path.join(folder, "base.raw")
    overlay = os.path.join(folder, "overlay.qcow2")
    repo = os.path.join(folder, "repo")
    tree = os.path.join(folder, "tree")
    os.mkdir(tree)
    with open(os.path.join(tree, "file"), "wb") as file:
        file.write(os.urandom(3 << 20))
    run("mke2fs", "-q", "-t", "ext4", "-d", tree, base, "24M")
    run(VMPACK, "init", repo, "--quiet")
    run(VMPACK, "ingest", base, "vm:1", "--no-os", "--quiet", "--repo", repo)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, overlay)
    os.environ["VMPACK_REPO"] = repo
    machine = Machine(folder, overlay)
    try:
        machine.command("block-dirty-bitmap-add", node="disk0", name="since-1")
        machine.write("write -q -P 0x11 2M 300k")
        machine.write("write -q -z 9M 128k")
        run(SAMPLE, "--qmp", machine.monitor, "--node", "disk0", "--since", "since-1", "--next", "since-2",
            "vm:1", "vm:2", "--no-os")
        machine.write("flush")
        check(folder, repo, "vm:2", overlay)
        machine.write("write -q -P 0x22 2100k 8k")
        machine.write("write -q -P 0x33 15M 1M")
        run(SAMPLE, "--qmp", machine.monitor, "--node", "disk0", "--since", "since-2", "--next", "since-3",
            "vm:2", "vm:3", "--no-os")
        machine.write("flush")
        check(folder, repo, "vm:3", overlay)
        names = [each["name"] for node in machine.command("query-named-block-nodes", flat=True)
                 if node["node-name"] == "disk0" for each in node.get("dirty-bitmaps", [])]
        if names != ["since-3"]:
            sys.exit(f"bitmaps left: {names}")
    finally:
        machine.stop()
    changed = json.loads(run(VMPACK, "show", "vm:3", "--json", "--repo", repo))["manifest"]["changed"]["data"]
    if changed > (1 << 20) + 64 * 1024:
        sys.exit(f"vm:3 has {changed} changed bytes")


if __name__ == "__main__":
    if not shutil.which("qemu-system-x86_64"):
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory() as temporary:
        main(temporary)
