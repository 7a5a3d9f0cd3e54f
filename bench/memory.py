#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Peak memory of whole ingests, all processes of a command together, for images of different sizes."""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time

from compare import run


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vmpack", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("images", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    program = os.path.abspath(options.vmpack)
    lines = [
        "# Memory and the size of the image",
        "",
        f"Made by `bench/memory.sh` on {time.strftime('%Y-%m-%d')}: `vmpack ingest --no-os` into an empty repository. "
        "Memory is the largest sum, over the run, of the proportional set sizes of all its processes.",
        "",
        "| image | disk, GB | data, GB | files | objects | time, s | memory, MB |",
        "| --- |" + " --- |" * 6,
    ]
    for image in options.images:
        with tempfile.TemporaryDirectory(prefix="vmpack-memory-", dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
            repository = pathlib.Path(folder) / "r"
            run([program, "init", "-q", repository], {})
            seconds, peak = run([program, "ingest", "-q", "--no-os", "--repo", repository, image, "image:1"], {}, True)
            facts = json.loads(subprocess.check_output([program, "show", "--json", "--repo", repository, "image:1"]))["manifest"]
        files = sum(volume["file_count"] for volume in facts["layout"]["volumes"])
        objects = sum(entry["objects"] for entry in facts["classes"].values())
        lines.append(f"| {image.stem} | {facts['image']['bytes'] / 1e9:.1f} | {facts['image']['data_bytes'] / 1e9:.2f} | {files} | "
                     f"{objects} | {seconds:.1f} | {peak / 1e6:.0f} |")
        print(lines[-1], flush=True)
    pathlib.Path(options.out).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
