#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a snapshot of 50 MB of changes costs, on a small and on a large disk that hold the same.

In a copy of the image, files are overwritten in runs of 128 KiB with bytes of other files. The image is grown to 4 GiB and
to 256 GiB, and for each an overlay gets the blocks that changed. Then `vmpack snapshot` is timed with the base moved
away, and so are block and file diffs and the first byte through vmserve. Growth of the repository is held against the
changed blocks in one zstd stream. A second overlay has 12 800 scattered blocks of 4 KiB. All figures are medians of whole
processes, disks interleaved. Mounts the image, so it must run in a mount namespace of its own (bench/snapshots.sh).
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import tempfile
import time

import nbd

KIB, MIB, GIB = 1024, 1024**2, 1024**3
SIZES = {"4 GiB": 4 * GIB, "256 GiB": 256 * GIB}
CHANGES = {"50 MB in runs of 128 KiB": (330, 128 * KIB), "12 800 blocks of 4 KiB": (12800, 4 * KIB)}


def run(*command, code=0, env=None):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, **(env or {})}, check=False)
    if done.returncode != code:
        raise SystemExit(f"{' '.join(map(str, command))} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def data_ranges(image):
    """(offset, length) of what is not a hole."""
    mapped = json.loads(run("qemu-img", "map", "--output=json", "-f", "raw", image))
    return [(entry["start"], entry["length"]) for entry in mapped if entry["data"]]


class Exported:
    """A server on a unix socket, ended with the block."""

    def __init__(self, command, socket):
        self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
        self.socket = socket
        while not os.path.exists(socket):
            if self.process.poll() is not None:
                raise SystemExit(f"{command[0]} ended")
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        pathlib.Path(self.socket).unlink(missing_ok=True)


def large_files(folder, least):
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_size >= least:
            yield path, path.stat().st_size


def read_at(path, offset, length):
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def change_files(image, folder, count, length, seed):
    """Overwrites `count` places in files of the image's largest partition with bytes of others."""
    parts = json.loads(run("sfdisk", "--json", image))["partitiontable"]["partitions"]
    part = max(parts, key=lambda each: each["size"])
    folder.mkdir()
    run("mount", "-o", f"loop,offset={part['start'] * 512},sizelimit={part['size'] * 512}", image, folder)
    try:
        chooser = random.Random(seed)
        places = [(path, at) for path, size in large_files(folder / "usr", length)
                  for at in range(0, size - length + 1, length)]
        donors = [read_at(path, at, length) for path, at in chooser.sample(places, count)]
        for (path, at), data in zip(chooser.sample(places, count), donors):
            with path.open("r+b") as file:
                file.seek(at)
                file.write(data)
    finally:
        run("umount", folder)
        folder.rmdir()


def changed_blocks(before, after):
    """(offset, bytes) of the blocks of 4 KiB that differ."""
    with open(before, "rb") as old, open(after, "rb") as new:
        for start, size in data_ranges(after):
            for offset in range(start, start + size, MIB):
                old.seek(offset)
                new.seek(offset)
                length = min(MIB, start + size - offset)
                was, now = old.read(length), new.read(length)
                if was == now:
                    continue
                for at in range(0, length, 4 * KIB):
                    if was[at:at + 4 * KIB] != now[at:at + 4 * KIB]:
                        yield offset + at, now[at:at + 4 * KIB]


def make_overlay(overlay, base, blocks):
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, overlay)
    socket = f"{overlay}.socket"
    with Exported(["qemu-nbd", "-f", "qcow2", "-t", "-k", socket, overlay], socket):
        handle = nbd.NBD()
        handle.connect_unix(socket)
        for offset, data in blocks:
            handle.pwrite(data, offset)
        handle.flush()
        handle.shutdown()


def compressed_bytes(data, level):
    return len(subprocess.run(["zstd", f"-{level}", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout)


def timed(action):
    start = time.monotonic()
    result = action()
    return time.monotonic() - start, result


def first_byte(socket, export):
    def read():
        handle = nbd.NBD()
        handle.set_export_name(export)
        handle.connect_unix(socket)
        handle.pread(512, 64 * KIB)
        handle.shutdown()

    return timed(read)[0]


def measure(options, work):
    images = {}
    for name, size in SIZES.items():
        images[name] = work / f"{size // GIB}.raw"
        run("cp", "--sparse=always", options.image, images[name])
        os.truncate(images[name], size)
    rows = {}
    for change, (count, length) in CHANGES.items():
        changed_image = work / "changed.raw"
        run("cp", "--sparse=always", options.image, changed_image)
        change_files(changed_image, work / "mounted", count, length, seed=count)
        blocks = list(changed_blocks(options.image, changed_image))
        changed_image.unlink()
        data = b"".join(block for _, block in blocks)
        overlays = {}
        for name, image in images.items():
            overlays[name] = work / f"{name}-{count}.qcow2"
            make_overlay(overlays[name], image, blocks)
        figures = {name: [] for name in SIZES}
        for turn in range(options.runs):
            for name in SIZES:
                figures[name].append(one_run(options, work / "repository", images[name], overlays[name], turn))
        for name in SIZES:
            rows[change, name] = {key: statistics.median(f[key] for f in figures[name]) for key in figures[name][0]}
            rows[change, name]["changed"] = len(data)
            rows[change, name]["compressed"] = compressed_bytes(data, options.level)
        for overlay in overlays.values():
            overlay.unlink()
    return rows


def one_run(options, repository, image, overlay, turn):
    if repository.exists():
        shutil.rmtree(repository)
    env = {"VMPACK_REPO": str(repository)}
    run(options.vmpack, "init", "-q", repository)
    run(options.vmpack, "ingest", "-q", "--no-os", image, "base:1", env=env)
    before = size_of(repository)
    away = image.with_suffix(".away")
    image.rename(away)  # what is not there cannot be read
    try:
        commit, _ = timed(lambda: run(options.vmpack, "snapshot", "-q", "--no-facts", "base:1", "base:2", "--overlay",
                                      overlay, env=env))
    finally:
        away.rename(image)
    growth = size_of(repository) - before
    run(options.vmpack, "snapshot", "-q", "--no-os", "--force", "base:1", "base:2", "--overlay", overlay, env=env)
    with_files = size_of(repository) - before
    blocks, _ = timed(lambda: run(options.vmpack, "diff", "--blocks", "base:1", "base:2", code=3, env=env))
    files, _ = timed(lambda: run(options.vmpack, "diff", "--files", "base:1", "base:2", code=3, env=env))
    socket = str(repository.parent / f"serve-{turn}")
    with Exported([options.vmserve, "--repo", repository, "--nbd", f"unix:{socket}", "--log-level", "warn"],
                  socket):
        opened = first_byte(socket, "base:2")
    return {"commit": commit, "growth": growth, "with_files": with_files, "blocks": blocks, "files": files,
            "open": opened}


def table(rows, options):
    lines = [
        "# Snapshots of what changed",
        "",
        f"Made by `bench/snapshots.sh` on {time.strftime('%Y-%m-%d')}: {os.cpu_count()} cores, medians of {options.runs} "
        "runs. The base image is not there while a snapshot is made. Growth is of the whole repository, first as "
        "committed, then with the file table that is recorded afterwards; beside it the same bytes in one zstd stream.",
        "",
        "| changed | MB | disk | snapshot, s | growth, MB | with files, MB | one stream, MB | block diff, s | "
        "file diff, s | first byte, ms |",
        "| --- |" + " --- |" * 9,
    ]
    for (change, name), row in rows.items():
        lines.append(f"| {change} | {row['changed'] / 1e6:.1f} | {name} | {row['commit']:.2f} | {row['growth'] / 1e6:.2f} | "
                     f"{row['with_files'] / 1e6:.2f} | {row['compressed'] / 1e6:.2f} | {row['blocks']:.3f} | "
                     f"{row['files']:.2f} | {1000 * row['open']:.1f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmpack", required=True)
    parser.add_argument("--vmserve", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--level", type=int, default=2, help="of the zstd stream that growth is held against")
    parser.add_argument("image")
    parser.add_argument("runs", nargs="?", type=int, default=5)
    options = parser.parse_args()
    options.vmpack, options.vmserve = os.path.abspath(options.vmpack), os.path.abspath(options.vmserve)
    with tempfile.TemporaryDirectory(prefix="vmpack-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        text = table(measure(options, pathlib.Path(folder)), options)
    pathlib.Path(options.out).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
