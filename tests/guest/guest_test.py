#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Real guests on snapshots, from their first boot to the diff of what was done in them.

A sample image is ingested without its free space and served. A guest boots on an overlay over that, a package is
installed in it and it is shut down: the snapshot of its overlay boots, has the package, and differs from the base by
just that. The second guest is snapshotted by a dirty bitmap while it writes: that snapshot boots too.
"""
import importlib.machinery
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from guest import Guest, require_programs

SOURCE = pathlib.Path(__file__).resolve().parents[2]
live = importlib.machinery.SourceFileLoader("live", str(SOURCE / "samples/live-snapshot.py")).load_module()
VMPACK, VMSERVE = os.environ["VMPACK"], os.environ["VMSERVE"]

# What booting and shutting down a Debian, and installing a package, write besides what was asked for.
HOUSEKEEPING = ("/var/log", "/var/lib/systemd", "/var/lib/dpkg", "/var/cache", "/var/tmp", "/etc/machine-id", "/tmp",
                "/root/.bash_history", "/root/.lesshst", "/var/lib/apt", "/boot/grub/grubenv", "/var/lib/dbus",
                "/var/lib/private", "/etc/ld.so.cache", "/lost+found", "/run", "/dev")


def run(*command, code=0, **options):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False, **options)
    if done.returncode != code:
        raise AssertionError(f"{' '.join(map(str, command))} exited with {done.returncode}, not {code}:\n"
                             f"{done.stdout}{done.stderr}")
    sys.stderr.write(done.stderr)
    return done.stdout


def check(condition, what):
    if not condition:
        raise AssertionError(what)
    print(f"ok: {what}", flush=True)


class Scene:
    """A repository, its server and a folder for everything."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.repository = self.folder / "repository"
        self.socket = self.folder / "nbd"
        self.environment = {**os.environ, "VMPACK_REPO": str(self.repository)}
        self.guests = []
        self.server = None
        self.vmpack("init", self.repository)

    def vmpack(self, *arguments, code=0):
        return run(VMPACK, *arguments, code=code, env=self.environment)

    def digest(self, reference):
        return json.loads(self.vmpack("show", "--json", reference))["snapshot"]

    def serve(self):
        self.server = subprocess.Popen([VMSERVE, "--repo", self.repository, "--nbd", f"unix:{self.socket}"])
        deadline = time.monotonic() + 30
        while not self.socket.exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def start_guest(self, reference, name, disks=()):
        """A guest on a new overlay over the reference, which is served by its digest."""
        place = self.folder / name
        place.mkdir()
        overlay = place / "overlay.qcow2"
        export = f"{reference.split(':')[0]}@{self.digest(reference)}"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", f"nbd+unix:///{export}?socket={self.socket}",
            overlay)
        guest = Guest(overlay, place, disks)
        self.guests.append(guest)
        return guest, overlay

    def close(self):
        for guest in self.guests:
            guest.kill()
        if self.server is not None:
            self.server.terminate()
            self.server.wait()


def package_disk(folder):
    """A file system with a real package in it: what a guest without a network installs from."""
    tree = folder / "packages"
    tree.mkdir()
    command = ["apt-get", "download", "-o", "APT::Sandbox::User=root", "hello"]
    if subprocess.run(command, cwd=tree, check=False).returncode != 0:
        run("apt-get", "update")  # a machine that installed nothing lately may have no lists
        run(*command, cwd=tree)
    disk = folder / "packages.raw"
    run("mke2fs", "-q", "-t", "ext4", "-d", tree, disk, "8M")
    return disk


def install_in_first_guest(scene):
    guest, overlay = scene.start_guest("base:v1", "first", [package_disk(scene.folder)])
    guest.log_in()
    guest.run("mount -o ro /dev/vdb /mnt && dpkg -i /mnt/*.deb && umount /mnt")
    guest.run("echo 'made in the guest' >/etc/made-in-the-guest && rm /etc/motd && chmod 600 /etc/issue")
    guest.power_off()
    print(scene.vmpack("snapshot", "base:v1", "base:v2", "--overlay", overlay))


def check_packages(scene):
    print(scene.vmpack("diff", "--packages", "base:v1", "base:v2", code=3))
    facts = json.loads(scene.vmpack("diff", "--packages", "--json", "base:v1", "base:v2", code=3))
    changes = [(package["fate"], package["name"]) for system in facts["systems"] for package in system["packages"]]
    check(changes == [("installed", "hello")], "diff --packages names the package that was installed, and no other")


def check_files(scene, hello_files):
    print(scene.vmpack("diff", "--files", "base:v1", "base:v2", code=3))
    facts = json.loads(scene.vmpack("diff", "--files", "--json", "base:v1", "base:v2", code=3))
    found = {}
    for difference in facts["files"]["differences"]:
        if (difference.get("after") or difference["before"])["type"] == "folder":
            continue
        if not difference["path"].startswith(HOUSEKEEPING):
            found[difference["path"]] = (difference["fate"], tuple(difference.get("changes", ())))
    expected = {path: ("added", ()) for path in hello_files | {"/etc/made-in-the-guest"}}
    expected["/etc/motd"] = ("removed", ())
    expected["/etc/issue"] = ("changed", ("mode",))
    wrong = {path: (found.get(path), expected.get(path)) for path in found.keys() | expected.keys()
             if found.get(path) != expected.get(path)}
    check(not wrong, f"diff --files names what was done, and only that {wrong or ''}")


def boot_second_guest(scene):
    guest, _ = scene.start_guest("base:v2", "second")
    live.Qmp(guest.monitor).run("block-dirty-bitmap-add", node="disk0", name="since-v2")
    guest.log_in()
    check(guest.run("hello") == "Hello, world!", "the package runs in a guest booted from the snapshot")
    check(guest.run("cat /etc/made-in-the-guest") == "made in the guest", "and the file is there")
    files = guest.run("for f in $(dpkg -L hello); do test -d $f || echo $f; done").split()
    return guest, set(files)


def snapshot_while_it_writes(scene, guest):
    """The guest counts into a file, each number durable, before, while and after the snapshot is made."""
    guest.run("(i=0; while :; do i=$((i+1)); echo $i >>/root/count; sync; done) & sleep 5; test -s /root/count")
    before = int(guest.run("tail -n 1 /root/count"))
    run(sys.executable, SOURCE / "samples/live-snapshot.py", "--qmp", guest.monitor, "--node", "disk0", "--since",
        "since-v2", "--next", "since-v3", "base:v2", "base:v3", env={**scene.environment, "VMPACK": VMPACK})
    after = int(guest.run("tail -n 1 /root/count"))
    guest.kill()
    return before, after


def check_live_snapshot(scene, before, after):
    guest, _ = scene.start_guest("base:v3", "third")
    guest.log_in()
    lines = [int(line) for line in guest.run("cat /root/count").split()]
    check(lines == list(range(1, len(lines) + 1)), "what the running guest wrote is there, in order")
    check(before <= len(lines) <= after, f"as it was at one moment: {before} <= {len(lines)} <= {after}")
    guest.kill()


def main():
    require_programs("qemu-system-x86_64", "qemu-img", "mke2fs", "apt-get", "setpriv")
    with tempfile.TemporaryDirectory(prefix="vmpack-guest-", dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        scene = Scene(folder)
        image = scene.folder / "base.raw"
        run(SOURCE / "samples/build-image.sh", "base", image)
        print(scene.vmpack("ingest", "--discard-free", image, "base:v1"))
        image.unlink()
        scene.serve()
        try:
            install_in_first_guest(scene)
            check_packages(scene)
            guest, hello_files = boot_second_guest(scene)
            check_files(scene, hello_files)
            check_live_snapshot(scene, *snapshot_while_it_writes(scene, guest))
            scene.vmpack("verify")
        finally:
            scene.close()


if __name__ == "__main__":
    main()
