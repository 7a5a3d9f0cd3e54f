# SPDX-License-Identifier: Apache-2.0
"""A QEMU guest whose serial console is typed at as a person would."""
import os
import re
import shutil
import signal
import socket
import subprocess
import time

BOOT_SECONDS = 420  # emulated, on a machine that has other things to do


class Guest:
    """One running machine; `overlay` is a qcow2 file, `folder` takes its sockets, `disks` are further raw images."""

    def __init__(self, overlay, folder, disks=()):
        self.serial_path = os.path.join(folder, "serial")
        self.monitor = os.path.join(folder, "qmp")
        self.seen = ""
        command = [
            "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-machine", "pc,graphics=off", "-accel",
            "tcg,thread=multi", "-nodefaults", "-display", "none", "-m", "512", "-smp", "1", "-nic", "none",
            "-device", "virtio-rng-pci",
            "-chardev", f"socket,id=serial,path={self.serial_path},server=on,wait=off", "-serial", "chardev:serial",
            "-qmp", f"unix:{self.monitor},server=on,wait=off",
            "-blockdev", f"qcow2,node-name=disk0,file.driver=file,file.filename={overlay}",
            "-device", "virtio-blk-pci,drive=disk0,bootindex=0",
        ]
        for number, disk in enumerate(disks, start=1):
            command += ["-blockdev", f"raw,node-name=disk{number},read-only=on,file.driver=file,file.filename={disk}",
                        "-device", f"virtio-blk-pci,drive=disk{number}"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.serial = self._connect()

    def _connect(self):
        deadline = time.monotonic() + 30
        while True:
            console = socket.socket(socket.AF_UNIX)
            try:
                console.connect(self.serial_path)
                return console
            except OSError:
                console.close()
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def type(self, text):
        self.serial.sendall(text.encode() + b"\n")

    def wait_for(self, pattern, seconds=120):
        """What the console wrote up to the pattern, which is taken off."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            self.serial.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                more = self.serial.recv(65536)
            except TimeoutError:
                more = None
            if more == b"" or time.monotonic() > deadline:
                raise AssertionError(f"the guest did not write /{pattern}/; it wrote:\n{self.seen[-3000:]}")
            self.seen += (more or b"").decode(errors="replace").replace("\r", "")
            self.seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen)
        before, self.seen = self.seen[: found.start()], self.seen[found.end():]
        return before

    def log_in(self):
        self.wait_for("login: ", BOOT_SECONDS)
        self.type("root")
        self.wait_for("Password: ")
        self.type("vmpack")
        self.wait_for("# ", BOOT_SECONDS)
        # A prompt that nothing else prints; typed in two pieces, so that its echo does not match.
        self.type("stty -echo; dmesg -n 1; PS1='vm''pack> '")
        self.wait_for("vmpack> ")

    def run(self, command, seconds=180):
        """Runs a shell command in the guest, which must not fail, and returns its output."""
        self.type(f"{command}; echo \"[$?]\"")
        output = self.wait_for("vmpack> ", seconds)
        found = re.search(r"\[(\d+)\]\s*$", output)
        if not found or found[1] != "0":
            raise AssertionError(f"in the guest, '{command}' gave:\n{output}")
        return output[: found.start()].strip()

    def power_off(self):
        self.type("poweroff")
        self.process.wait(timeout=BOOT_SECONDS)

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.serial.close()


def require_programs(*names):
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"not installed: {' '.join(missing)}")
