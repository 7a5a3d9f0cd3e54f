#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whole-process times of storing an image, a fresh copy of it and a rebuild of it, and of restoring it, for vmpack and
its peers.

All tools take their turn in every run, so that a machine that slows down slows all of them. Of each figure the
median over the runs is told; ratios are medians of the ratios run by run. Memory is the largest sum, over the run, of
the proportional set sizes of the command and all its descendants.
"""
import argparse
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import tempfile
import threading
import time


TIMES = ("first", "copy", "rebuild", "restore")


class Peer:
    """How one tool stores and restores; `place` is an empty folder of its own for each run."""

    def __init__(self, name, init, store, restore, env=None):
        self.name = name
        self.init = init
        self.store = store
        self.restore = restore
        self.env = env or {}


def peers(vmpack):
    def sh(text):
        return lambda **names: ["sh", "-c", text.format(**names)]

    return [
        Peer(
            "vmpack",
            sh(f"{vmpack} init -q {{place}}/r"),
            sh(f"exec {vmpack} ingest -q --no-os --repo {{place}}/r {{image}} image:{{turn}}"),
            sh(f"exec {vmpack} restore -q --repo {{place}}/r image:1 {{out}}"),
        ),
        Peer(
            "restic",
            sh("restic init -q -r {place}/r --repository-version 2"),
            sh("exec restic backup -q -r {place}/r {image}"),
            sh("exec restic restore -q -r {place}/r latest --target {out}"),
            {"RESTIC_PASSWORD": "bench"},
        ),
        Peer(
            "borg, fixed 64 KiB",
            sh("borg init -e none {place}/r"),
            sh("exec borg create -C zstd,3 --chunker-params fixed,65536 {place}/r::{turn} {image}"),
            sh("mkdir {out} && cd {out} && exec borg extract --sparse {place}/r::1"),
            {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_BASE_DIR": "{place}"},
        ),
        Peer(
            "casync",
            sh("mkdir {place}/s"),
            sh("exec casync make --store={place}/s {place}/{turn}.caibx {image} >/dev/null"),
            sh("exec casync extract --store={place}/s {place}/1.caibx {out}"),
        ),
        Peer(
            "qemu-img convert -c (zstd)",
            sh("true"),
            sh("exec qemu-img convert -f raw -O qcow2 -c -o compression_type=zstd {image} {place}/{turn}.qcow2"),
            sh("exec qemu-img convert -O raw {place}/1.qcow2 {out}"),
        ),
    ]


def descendants(root):
    """Process ids of `root` and everything below it."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
            except OSError:
                continue
            children.setdefault(int(parent), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo.extend(children.get(pid, []))
    return found


def memory_of(pids):
    total = 0
    for pid in pids:
        try:
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            pass
    return total * 1024


def run(command, env, watch_memory=False):
    """(seconds, largest memory in bytes) of one command; a failure ends the benchmark."""
    peak = 0
    start = time.monotonic()
    process = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    ended = threading.Event()

    def watch():
        nonlocal peak
        while not ended.wait(0.05):
            peak = max(peak, memory_of(descendants(process.pid)))

    watcher = threading.Thread(target=watch)
    if watch_memory:
        watcher.start()
    _, errors = process.communicate()
    seconds = time.monotonic() - start
    ended.set()
    if watch_memory:
        watcher.join()
    if process.returncode != 0:
        raise SystemExit(f"{command[-1]} failed:\n{errors.decode()}")
    return seconds, peak


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(peer, images, work, watch_memory):
    place = work / "place"
    out = work / "out"
    place.mkdir()
    names = {"place": place, "out": out}
    env = {key: value.format(**names) for key, value in peer.env.items()}
    figures = {}
    run(peer.init(**names), env)
    peaks = []
    for turn, (key, image) in enumerate(images.items(), start=1):
        figures[key], peak = run(peer.store(image=image, turn=turn, **names), env, watch_memory)
        peaks.append(peak)
        figures.setdefault("size", size_of(place))
    figures["restore"], peak = run(peer.restore(**names), env, watch_memory)
    figures["memory"] = max(*peaks, peak)
    shutil.rmtree(place)
    if out.is_dir():
        shutil.rmtree(out)
    else:
        out.unlink()
    return figures


def table(results, image, runs):
    def median(name, key):
        return statistics.median(figures[key] for figures in results[name])

    def ratio(name, key):
        return statistics.median(a[key] / b[key] for a, b in zip(results[name], results["vmpack"]))

    data = pathlib.Path(image).stat()
    lines = [
        "# vmpack beside its peers",
        "",
        f"Made by `bench/compare.sh` on {time.strftime('%Y-%m-%d')}: {os.cpu_count()} cores, {platform.machine()}, "
        f"image of {data.st_size / 1e9:.2f} GB ({data.st_blocks * 512 / 1e9:.2f} GB allocated), {runs} interleaved runs, "
        "medians. Whole processes, warm page cache; `×` is how many times longer than vmpack, median of the ratios "
        "run by run. Memory: largest sum over all of a command's processes, in runs of its own.",
        "",
        "| tool | first, s | × | fresh copy, s | × | rebuild, s | × | restore, s | × | stored, MB | memory, MB |",
        "| --- |" + " --- |" * 10,
    ]
    for name in results:
        cells = [name]
        for key in TIMES:
            cells += [f"{median(name, key):.2f}", f"{ratio(name, key):.2f}"]
        cells += [f"{median(name, 'size') / 1e6:.0f}", f"{max(f.get('memory', 0) for f in results[name]) / 1e6:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vmpack", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("image")
    parser.add_argument("rebuild", help="the image built once more")
    parser.add_argument("runs", nargs="?", type=int, default=5)
    options = parser.parse_args()
    image = os.path.abspath(options.image)
    everyone = peers(os.path.abspath(options.vmpack))
    results = {peer.name: [] for peer in everyone}
    with tempfile.TemporaryDirectory(prefix="vmpack-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        work = pathlib.Path(folder)
        copy = work / "copy.raw"
        subprocess.run(["cp", "--sparse=always", image, copy], check=True)
        images = {"first": image, "copy": copy, "rebuild": os.path.abspath(options.rebuild)}
        memory = {peer.name: measure(peer, images, work, True)["memory"] for peer in everyone}  # also a warm-up
        for turn in range(options.runs):
            for peer in everyone:
                figures = measure(peer, images, work, False)
                figures["memory"] = memory[peer.name]
                results[peer.name].append(figures)
                print(f"run {turn + 1}: {peer.name}: " + ", ".join(f"{k} {v:.2f}" for k, v in figures.items() if k in TIMES), flush=True)
    text = table(results, image, options.runs)
    pathlib.Path(options.out).write_text(text)
    print(text)


if __name__ == "__main__":
    main()
