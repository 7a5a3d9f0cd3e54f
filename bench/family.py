#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What storing a family of images takes, for vmpack and its peers: bytes that each image added, and objects.

The images are stored one after the other in the order given, into one repository of each tool. Sizes are of all files
of the repository. A second table shows what one role adds on other file systems, to a repository that has it on the first.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time


def run(command, env=None):
    result = subprocess.run(command, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{result.stderr.decode()}")
    return result.stdout.decode()


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Vmpack:
    def __init__(self, program, name, options):
        self.program, self.name, self.options = program, name, options

    def init(self, folder):
        run([self.program, "init", "-q", folder])

    def store(self, folder, image):
        """Stores `image`; returns the number of objects that were new. Roles are names: a rebuild is another tag."""
        return self.facts(folder, image)["objects_new"]

    def facts(self, folder, image):
        role = image.stem.removesuffix("-rebuilt")
        return json.loads(run([self.program, "ingest", "--json", *self.options, "--repo", folder, image,
                               f"{role}:{image.stem}"]))


class Restic:
    name = "restic"
    env = {"RESTIC_PASSWORD": "bench"}

    def init(self, folder):
        run(["restic", "init", "-q", "-r", folder, "--repository-version", "2"], self.env)

    def store(self, folder, image):
        run(["restic", "backup", "-q", "-r", folder, image], self.env)


class Borg:
    def __init__(self, name, chunker):
        self.name, self.chunker = name, chunker

    def env(self, folder):
        return {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_BASE_DIR": f"{folder}.base"}

    def init(self, folder):
        run(["borg", "init", "-e", "none", folder], self.env(folder))

    def store(self, folder, image):
        run(["borg", "create", "-C", "zstd,3", "--chunker-params", self.chunker, f"{folder}::{image.stem}", image],
            self.env(folder))


def measure(peer, images, folder):
    """Megabytes that each image added, and all new objects (None where the tool does not say)."""
    peer.init(folder)
    before = size_of(folder)
    added, objects = [], []
    for image in images:
        objects.append(peer.store(folder, image))
        now = size_of(folder)
        added.append((now - before) / 1e6)
        before = now
        print(f"{peer.name}: {image.stem}: {added[-1]:.1f} MB", flush=True)
    return added, None if None in objects else sum(objects)


def table(results, images):
    def cell(value):
        return f"{value:.0f}" if value >= 20 else f"{value:.1f}"

    total = {name: sum(added) for name, (added, _) in results.items()}
    lines = [
        "# A family of images",
        "",
        f"Made by `bench/family.sh` on {time.strftime('%Y-%m-%d')}: MB that each image adds to a repository that has those "
        "before it, as the sample builder makes them. `÷` is the sum as a share of that peer's.",
        "",
        "| tool | " + " | ".join(image.stem for image in images) + " | sum | ÷ restic | ÷ borg, fixed 64 KiB | objects |",
        "| --- |" + " --- |" * (len(images) + 4),
    ]
    for name, (added, objects) in results.items():
        cells = [name, *map(cell, added), f"{total[name]:.0f}", f"{total[name] / total['restic']:.2f}",
                 f"{total[name] / total['borg, fixed 64 KiB']:.2f}", f"{objects / 1e3:.0f} k" if objects else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def file_systems_table(program, images, folder):
    """What the role of the first image adds from each of the others, each to a repository that has the first."""
    peer = Vmpack(program, "vmpack --discard-free", ["--discard-free"])
    peer.init(folder / "first")
    first = peer.facts(folder / "first", images[0])
    lines = [
        "",
        f"The same role on other file systems, after `{images[0].stem}` ({first['data_bytes'] / 1e6:.0f} MB of data, "
        f"{first['stored_bytes'] / 1e6:.0f} MB stored), with `--discard-free`:",
        "",
        "| image | data MB | new before compression, MB | of the data | stored, MB | new objects |",
        "| --- |" + " --- |" * 5,
    ]
    for image in images[1:]:
        shutil.copytree(folder / "first", folder / image.stem)
        facts = peer.facts(folder / image.stem, image)
        lines.append(f"| {image.stem} | {facts['data_bytes'] / 1e6:.0f} | {facts['bytes_new'] / 1e6:.0f} | "
                     f"{100 * facts['bytes_new'] / facts['data_bytes']:.1f} % | {facts['stored_bytes'] / 1e6:.1f} | "
                     f"{facts['objects_new'] / 1e3:.1f} k |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vmpack", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--file-systems", nargs="*", type=pathlib.Path, default=[], metavar="IMAGE",
                        help="one role on several file systems, for the second table")
    parser.add_argument("images", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    program = os.path.abspath(options.vmpack)
    peers = [
        Vmpack(program, "vmpack", ["--no-os"]),
        Vmpack(program, "vmpack --discard-free", ["--no-os", "--discard-free"]),
        Restic(),
        Borg("borg, fixed 64 KiB", "fixed,65536"),
        Borg("borg, fixed 4 MiB", "fixed,4194304"),
    ]
    results = {}
    with tempfile.TemporaryDirectory(prefix="vmpack-family-", dir=os.environ.get("TMPDIR", "/var/tmp")) as work:
        for number, peer in enumerate(peers):
            results[peer.name] = measure(peer, options.images, pathlib.Path(work) / str(number))
        text = table(results, options.images)
        if options.file_systems:
            text += file_systems_table(program, options.file_systems, pathlib.Path(work))
    pathlib.Path(options.out).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
