#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is stored when several images of a family are ingested at the same moment, each by a process of its own, against one
after another; `vmpack verify` must find nothing. --repo names a store that is empty (a folder, s3://bucket/prefix, ...);
repositories are made below it. Without it they are in a folder that is removed at the end.
"""
import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
import time


def start(options, repository, image):
    return subprocess.Popen([options.vmpack, "ingest", "--json", "--no-os", "--repo", repository, image, f"{image.stem}:1"],
                            stdout=subprocess.PIPE, text=True)


def facts_of(process):
    out, _ = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"an ingest exited with {process.returncode}")
    return json.loads(out)


def in_turn(options, repository):
    return [facts_of(start(options, repository, image)) for image in options.images]


def at_once(options, repository):
    return [facts_of(process) for process in [start(options, repository, image) for image in options.images]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmpack", default="build/release/tools/vmpack", type=os.path.abspath)
    parser.add_argument("--out", default="bench/writers.md", type=pathlib.Path)
    parser.add_argument("--runs", default=3, type=int)
    parser.add_argument("--repo", help="an empty store")
    parser.add_argument("images", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    lines = [
        "# Writers at once",
        "",
        f"Made by `bench/writers.py` on {time.strftime('%Y-%m-%d')}: `vmpack ingest --no-os` of {', '.join(image.stem for image in options.images)}"
        " into an empty repository, by one process after another and by all at once. New objects is what their bytes come to before "
        "compression: what is stored twice counts twice. The repository is all of its files.",
        "",
        "| how | run | time, s | new objects, MB | more | repository, MB | more | packs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    with contextlib.ExitStack() as stack:
        base = options.repo or stack.enter_context(tempfile.TemporaryDirectory(prefix="vmpack-writers-", dir=os.environ.get("TMPDIR", "/var/tmp")))
        for run in range(options.runs):
            first = None
            for name, how in (("one after another", in_turn), ("at once", at_once)):
                repository = f"{base}/{name.replace(' ', '-')}-{run}"
                subprocess.run([options.vmpack, "init", "-q", repository], check=True)
                begin = time.monotonic()
                facts = how(options, repository)
                seconds = time.monotonic() - begin
                subprocess.run([options.vmpack, "verify", "-q", "--repo", repository], check=True)
                held = json.loads(subprocess.check_output([options.vmpack, "stats", "--json", "--repo", repository]))
                new, stored = sum(fact["bytes_new"] for fact in facts), held["repository_bytes"]
                first = first or (new, stored)
                lines.append(f"| {name} | {run + 1} | {seconds:.1f} | {new / 1e6:.1f} | {100 * (new / first[0] - 1):+.2f} % | {stored / 1e6:.1f} | "
                             f"{100 * (stored / first[1] - 1):+.2f} % | {held['packs']} |")
                print(lines[-1], flush=True)
    options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
