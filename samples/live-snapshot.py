#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Takes a snapshot of a disk of a running QEMU, by its dirty bitmap, while the guest goes on.

The disk, a qcow2 node on top of web:v1, was given the bitmap before the guest wrote anything:

    {"execute": "block-dirty-bitmap-add", "arguments": {"node": "disk0", "name": "since-v1"}}

Then

    samples/live-snapshot.py --qmp vm.qmp --node disk0 --since since-v1 --next since-v2 web:v1 web:v2

makes web:v2 of what was written, and leaves the bitmap since-v2, which tells what is written from then on.
Further options (--no-os, --label K=V) go to vmpack snapshot; $VMPACK names the program.
"""
import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time


class Qmp:
    """The monitor of a running QEMU."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r")
        self.lines.readline()
        self.run("qmp_capabilities")

    def run(self, command, **arguments):
        names = {name.replace("_", "-"): value for name, value in arguments.items()}
        request = {"execute": command, "arguments": names}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            line = self.lines.readline()
            if not line:
                sys.exit("live-snapshot: QEMU closed its monitor")
            answer = json.loads(line)
            if "error" in answer:
                sys.exit(f"live-snapshot: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]


def size_of(qmp, node):
    for each in qmp.run("query-named-block-nodes", flat=True):
        if each["node-name"] == node:
            return each["image"]["virtual-size"]
    sys.exit(f"live-snapshot: there is no node {node}")


def freeze(qmp, options, folder):
    """From here on the export shows the disk as it is now."""
    scratch = os.path.join(folder, "scratch.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", scratch, str(size_of(qmp, options.node))],
                   check=True)
    qmp.run("blockdev-add", driver="qcow2", node_name="vmpack-scratch", backing=options.node,
            file={"driver": "file", "filename": scratch})
    qmp.run("transaction", actions=[
        {"type": "block-dirty-bitmap-add", "data": {"node": options.node, "name": options.next}},
        {"type": "block-dirty-bitmap-disable", "data": {"node": options.node, "name": options.since}},
        {"type": "blockdev-backup", "data": {"job-id": "vmpack-fleece", "device": options.node,
                                             "target": "vmpack-scratch", "sync": "none"}}])
    export = os.path.join(folder, "nbd")
    qmp.run("nbd-server-start", addr={"type": "unix", "data": {"path": export}})
    qmp.run("block-export-add", id="vmpack-export", type="nbd", node_name="vmpack-scratch", name="disk",
            bitmaps=[{"node": options.node, "name": options.since}])
    return f"nbd+unix:///disk?socket={export}"


def thaw(qmp, options, keep):
    """Takes everything away again, and of the bitmaps the one that is not needed any more."""
    qmp.run("nbd-server-stop")
    qmp.run("block-job-cancel", device="vmpack-fleece")
    while qmp.run("query-block-jobs"):
        time.sleep(0.05)
    qmp.run("blockdev-del", node_name="vmpack-scratch")
    if keep == options.since:
        qmp.run("block-dirty-bitmap-merge", node=options.node, target=options.since, bitmaps=[options.next])
        qmp.run("block-dirty-bitmap-enable", node=options.node, name=options.since)
        qmp.run("block-dirty-bitmap-remove", node=options.node, name=options.next)
    else:
        qmp.run("block-dirty-bitmap-remove", node=options.node, name=options.since)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qmp", required=True, help="unix socket of the monitor")
    parser.add_argument("--node", required=True, help="node name of the disk")
    parser.add_argument("--since", required=True, help="bitmap of what was written since REF")
    parser.add_argument("--next", required=True, help="bitmap to make, of what will be written since NEW-REF")
    parser.add_argument("ref")
    parser.add_argument("new_ref")
    options, more = parser.parse_known_args()
    qmp = Qmp(options.qmp)
    with tempfile.TemporaryDirectory() as folder:
        uri = freeze(qmp, options, folder)
        vmpack = os.environ.get("VMPACK", "vmpack")
        done = subprocess.run([vmpack, "snapshot", options.ref, options.new_ref, "--nbd", uri,
                               "--bitmap", options.since, *more], check=False)
        thaw(qmp, options, options.next if done.returncode == 0 else options.since)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
