#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an object index of very many records costs an ingest: `vmpack ingest --no-os` of one image into an empty repository,
into one whose index has 100 million other objects in the few large files that gc makes, and into one with a thousand
small files, as a thousand ingests before a gc leave them.

The kinds take turns in every run; each time the repository is as it was (index files are hard links). Of each figure the
median over the runs is told, and ratios are medians of the ratios run by run. CPU time and memory are those of the command
and all its children as the kernel counts them; memory is the largest resident set of one process, mapped files included.
"""
import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

KINDS = {"empty": (0, 0), "100 million objects in 6 files": (100_000_000, 6), "10 million objects in 1000 files": (10_000_000, 1000)}
STEPS = ("new", "again")


def run(*command):
    """Wall seconds, CPU seconds, and largest resident set in bytes."""
    start = time.monotonic()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} exited with {process.returncode}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def make_repositories(options, folder):
    for kind, (objects, files) in KINDS.items():
        run(options.vmpack, "init", "-q", folder / kind)
        if objects:
            run(options.make_index, folder / kind, max(1, int(objects * options.scale)), files)


def measure(options, folder):
    figures = {(kind, step): [] for kind in KINDS for step in STEPS}
    for turn in range(options.runs):
        for kind in KINDS:
            place = folder / "place"
            shutil.copytree(folder / kind, place, copy_function=os.link)
            for step in STEPS:
                figures[kind, step].append(run(options.vmpack, "ingest", "-q", "--no-os", "--repo", place, options.image, f"image:{step}"))
            shutil.rmtree(place)
            print(turn + 1, kind, *(f"{step} {figures[kind, step][-1][0]:.1f} s" for step in STEPS), flush=True)
    return figures


def table(options, figures):
    lines = [
        "# The size of the object index",
        "",
        f"Made by `bench/index.py` on {time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at its end: "
        f"`vmpack ingest --no-os` of {options.image.stem} ({options.image.stat().st_size / 1e9:.1f} GB) into a repository whose index has "
        f"other objects already, then of the same image again. Medians of {options.runs} runs, kinds interleaved. Speed is against the empty "
        "repository: above 1 is faster.",
        "",
        "| index | step | time, s | CPU, s | speed | speed by CPU | memory, MB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind in KINDS:
        for step in STEPS:
            rows = figures[kind, step]
            base = figures["empty", step]
            seconds, cpu, memory = (statistics.median(column) for column in zip(*rows))
            speed, by_cpu = (statistics.median(b[i] / r[i] for b, r in zip(base, rows)) for i in (0, 1))
            lines.append(f"| {kind} | {step} | {seconds:.1f} | {cpu:.1f} | {speed:.2f} | {by_cpu:.2f} | {memory / 1e6:.0f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmpack", default="build/release/tools/vmpack", type=os.path.abspath)
    parser.add_argument("--make-index", default="build/release/bench/vmpack-make-index", type=os.path.abspath)
    parser.add_argument("--out", default="bench/index.md", type=pathlib.Path)
    parser.add_argument("--runs", default=5, type=int)
    parser.add_argument("--scale", default=1.0, type=float, help="share of the records, for a trial")
    parser.add_argument("image", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vmpack-index-", dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        folder = pathlib.Path(name)
        make_repositories(options, folder)
        text = table(options, measure(options, folder))
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
