#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vmserve beside the servers that people use: nbdkit (null plugin, which reads nothing, and file plugin on the raw image), qemu-nbd (raw,
and qcow2 with zstd), nginx for HTTP. All over unix sockets but HTTP, which is on loopback; all servers take their turn in
every run, and ratios are medians of the ratios run by run.

Random reads are of the 512 MiB of the image that hold the least holes, with everything in memory. Cold means a server that has just been
started; its files are in the page cache.
"""
import argparse
import contextlib
import json
import os
import pathlib
import socket
import statistics
import subprocess
import tempfile
import time

MIB = 1 << 20
WINDOW = 512 * MIB
CACHE = "3G"
TICKS = os.sysconf("SC_CLK_TCK")


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def densest_window(image):
    """Where the WINDOW with the most data begins, in MiB, and how much of it is data."""
    size = os.stat(image).st_size
    filled = [0] * (size // MIB + 1)
    with open(image, "rb") as file:
        at = 0
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            while at < end:
                step = min(end, (at // MIB + 1) * MIB) - at
                filled[at // MIB] += step
                at += step
    span = WINDOW // MIB
    sums = [sum(filled[:span])]
    for first in range(1, len(filled) - span):
        sums.append(sums[-1] + filled[first + span - 1] - filled[first - 1])
    best = max(range(len(sums)), key=sums.__getitem__)
    return best, sums[best] / WINDOW


class Server:
    """A server process on a unix socket (or, for HTTP, a port), until the end of a with block."""

    def __init__(self, name, command, export=""):
        self.name, self.command, self.export = name, command, export

    def uri(self, path):
        return f"nbd+unix:///{self.export}?socket={path}"

    @contextlib.contextmanager
    def running(self, folder):
        path = pathlib.Path(folder) / f"{self.name.replace(' ', '-')}.sock"
        path.unlink(missing_ok=True)
        process = subprocess.Popen([str(part).format(socket=path) for part in self.command], stdout=subprocess.DEVNULL)
        try:
            wait_for(path, process)
            yield process.pid, self.uri(path)
        finally:
            process.terminate()
            process.wait()


def wait_for(path, process):
    """Until somebody answers at the socket."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(path))
            return
        time.sleep(0.01)
    raise SystemExit(f"{process.args[0]} did not begin to serve")


def nbd_servers(options, folder):
    vmserve = [options.vmserve, "--repo", folder / "repo", "--nbd", "unix:{socket}", "--cache", CACHE, "--log-level", "warn"]
    digest = next((folder / "repo/snapshots").iterdir()).stem  # clients open several connections only to what cannot move
    return {
        "vmserve": Server("vmserve", vmserve, f"image@{digest}"),
        "nbdkit null": Server("nbdkit null", ["nbdkit", "-f", "-U", "{socket}", "null", f"size={os.stat(options.image).st_size}"]),
        "nbdkit file": Server("nbdkit file", ["nbdkit", "-f", "-U", "{socket}", "file", options.image]),
        "qemu-nbd raw": Server("qemu-nbd raw", ["qemu-nbd", "-r", "-t", "-e", "16", "-k", "{socket}", "-f", "raw", options.image]),
        "qemu-nbd zstd": Server("qemu-nbd zstd", ["qemu-nbd", "-r", "-t", "-e", "16", "-k", "{socket}", "-f", "qcow2", folder / "image.qcow2"]),
    }


def cpu_seconds(pid):
    """Of all threads of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def fio(uri, window, jobs, depth, seconds):
    out = run("fio", "--name=x", "--ioengine=nbd", f"--uri={uri}", "--rw=randread", "--bs=4k", f"--numjobs={jobs}", f"--iodepth={depth}",
              f"--offset={window}m", f"--size={WINDOW}", f"--runtime={seconds}", "--time_based", "--group_reporting", "--output-format=json",
              stderr=subprocess.DEVNULL)
    read = json.loads(out[out.index("{"):])["jobs"][0]["read"]
    return {"iops": read["iops"], "p99_us": read["clat_ns"].get("percentile", {}).get("99.000000", 0) / 1000, "requests": read["total_ios"]}


def timed(*command, **options):
    start = time.monotonic()
    run(*command, **options)
    return time.monotonic() - start


def copy_seconds(uri):
    return timed("nbdcopy", "--connections=4", uri, "null:")


def hot_figures(options, folder, window):
    """figure -> server -> one value a run."""
    figures = {}

    def add(figure, server, value):
        figures.setdefault(figure, {}).setdefault(server, []).append(value)

    servers = nbd_servers(options, folder)
    with contextlib.ExitStack() as stack:
        running = {name: stack.enter_context(server.running(folder)) for name, server in servers.items()}
        for _, uri in running.values():
            copy_seconds(uri)
        for turn in range(options.runs):
            for name, (pid, uri) in running.items():
                add("4 KiB random, 4 x 16, reads/s", name, fio(uri, window, 4, 16, options.seconds)["iops"])
                add("4 KiB random, 1 x 1, p99 us", name, fio(uri, window, 1, 1, options.seconds)["p99_us"])
                before = cpu_seconds(pid)
                result = fio(uri, window, 1, 16, options.seconds)
                add("4 KiB random, 1 x 16, reads/s", name, result["iops"])
                add("the same, CPU us a request", name, (cpu_seconds(pid) - before) * 1e6 / result["requests"])
                if name != "nbdkit null":
                    add("nbdcopy, 4 connections, s", name, copy_seconds(uri))
            print(f"hot run {turn + 1} of {options.runs}", flush=True)
    return figures


def cold_figures(options, folder):
    """The whole image by nbdcopy, and one read in each frame in random order, from servers just started."""
    offsets = run(options.frames, folder / "repo", "image:1", "offsets")
    servers = nbd_servers(options, folder)
    copies, reads, bare = {}, {}, []
    for turn in range(options.runs):
        bare.append(float(run(options.frames, folder / "repo", "image:1", "decompress")))
        for name in ("vmserve", "qemu-nbd zstd"):
            with servers[name].running(folder) as (_, uri):
                copies.setdefault(name, []).append(copy_seconds(uri))
            with servers[name].running(folder) as (_, uri):
                reads.setdefault(name, []).append(float(run(options.reads, uri, 4, 16, input=offsets)))
        print(f"cold run {turn + 1} of {options.runs}", flush=True)
    reads["bare zstd"] = bare
    return {"cold: nbdcopy, s": copies, f"cold: 4 KiB in each of {len(offsets.split())} frames, s": reads}


NGINX = """daemon off; worker_processes auto; pid {folder}/nginx.pid; error_log {folder}/nginx.err; events {{}}
http {{ access_log off; sendfile on; tcp_nopush on; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5; server {{ listen 127.0.0.1:{port}; root {root}; }} }}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)
    raise SystemExit(f"{process.args[0]} did not begin to serve")


def http_figures(options, folder):
    """Ranged GETs of the dense part of the image, one after the other, by curl."""
    image = pathlib.Path(options.image).resolve()
    ports = {"vmserve": free_port(), "nginx": free_port()}
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=ports["nginx"], root=image.parent))
    commands = {
        "vmserve": [options.vmserve, "--repo", folder / "repo", "--nbd", f"unix:{folder}/http-nbd.sock", "--http", f"127.0.0.1:{ports['vmserve']}",
                    "--cache", CACHE, "--log-level", "warn"],
        "nginx": ["nginx", "-c", folder / "nginx.conf", "-e", folder / "nginx.err"],
    }
    urls = {"vmserve": f"http://127.0.0.1:{ports['vmserve']}/images/image:1", "nginx": f"http://127.0.0.1:{ports['nginx']}/{image.name}"}
    window, _ = densest_window(image)
    span = f"{window * MIB}-{window * MIB + WINDOW - 1}"
    figures = {}
    with contextlib.ExitStack() as stack:
        for name, command in commands.items():
            process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            wait_for_port(ports[name], process)
            run("curl", "-sSf", "-o", "/dev/null", "-r", span, urls[name])
        for _ in range(options.runs):
            for name, url in urls.items():
                repeats = [part for _ in range(4) for part in ("-o", "/dev/null", url)]
                figures.setdefault(name, []).append(timed("curl", "-sSf", "-r", span, *repeats) / 4)
    return {f"HTTP: ranged GET of {WINDOW // MIB} MiB, s": figures}


def start_figure(options, folder):
    """From the start of vmserve to its ready file, with many snapshots in the repository."""
    if options.many:
        times = [start_seconds(options, folder, options.many) for _ in range(options.runs)]
    else:
        with tempfile.TemporaryDirectory(prefix="vmserve-many-", dir="/dev/shm") as repository:
            make_snapshots(options, folder, repository)
            times = [start_seconds(options, folder, repository) for _ in range(options.runs)]
    return {f"start with {options.snapshots} snapshots, s": {"vmserve": times}}


def make_snapshots(options, folder, repository):
    """So many snapshots, each of its own (by a label) with its reference. In memory and one by one: waiting for a disk or for other writers takes long."""
    run(options.vmpack, "init", "-q", repository)
    image = folder / "small.raw"
    image.write_bytes(os.urandom(65536))
    ingest = f"{options.vmpack} ingest -q --no-os --repo {repository} {image} many:@ --label number=@"
    numbers = "\n".join(map(str, range(options.snapshots)))
    run("xargs", "-I", "@", "sh", "-c", ingest, input=numbers)


COUNT_EXPORTS = """
import nbd, sys
client = nbd.NBD()
client.set_opt_mode(True)
client.connect_unix(sys.argv[1])
print(client.opt_list(lambda name, description: 0))
client.opt_abort()
"""


def start_seconds(options, folder, repository):
    ready = folder / "ready"
    path = folder / "start.sock"
    start = time.monotonic()
    process = subprocess.Popen([options.vmserve, "--repo", repository, "--nbd", f"unix:{path}", "--ready-file", ready, "--log-level", "error"])
    try:
        while not ready.exists():
            time.sleep(0.001)
        seconds = time.monotonic() - start
        exports = int(run("/usr/bin/python3", "-c", COUNT_EXPORTS, path))
    finally:
        process.terminate()
        process.wait()
    if exports != options.snapshots:
        raise SystemExit(f"vmserve lists {exports} exports, not {options.snapshots}")
    return seconds


def advantage(figure, ours, theirs):
    """Above 1 where ours is better; of rates more is better, of everything else less."""
    pairs = zip(ours, theirs) if figure.endswith("reads/s") else zip(theirs, ours)
    return statistics.median(better / worse for better, worse in pairs)


def table(figures, options, window, filled):
    lines = [
        "# vmserve beside other servers",
        "",
        f"Made by `bench/serve.py` on {time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at its end: {options.runs} runs, servers in turn, medians; "
        f"`×` is the median of the ratios run by run, above 1 where vmserve is better. Random reads are of the {WINDOW // MIB} MiB of the image "
        f"({pathlib.Path(options.image).stem}, {os.stat(options.image).st_size / 1e9:.1f} GB) from {window} MiB on, {filled:.0%} of them data.",
        "",
        "| figure | server | median | × |",
        "| --- | --- | --- | --- |",
    ]
    for figure, servers in figures.items():
        ours = servers["vmserve"]
        for name, values in servers.items():
            median = statistics.median(values)
            shown = f"{median:,.0f}" if median >= 100 else f"{median:.3g}"
            ratio = "" if name == "vmserve" else f"{advantage(figure, ours, values):.2f}"
            lines.append(f"| {figure} | {name} | {shown} | {ratio} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = pathlib.Path("build/release")
    parser.add_argument("--vmpack", default=build / "tools/vmpack", type=os.path.abspath)
    parser.add_argument("--vmserve", default=build / "server/vmserve", type=os.path.abspath)
    parser.add_argument("--frames", default=build / "bench/vmpack-frames", type=os.path.abspath)
    parser.add_argument("--reads", default=build / "bench/vmpack-nbd-reads", type=os.path.abspath)
    parser.add_argument("--out", default="bench/serve.md", type=pathlib.Path)
    parser.add_argument("--runs", default=5, type=int)
    parser.add_argument("--seconds", default=3, type=int, help="of each run of fio")
    parser.add_argument("--snapshots", default=10_000, type=int)
    parser.add_argument("--many", type=os.path.abspath, help="a repository that has --snapshots snapshots already")
    parser.add_argument("--only", choices=("hot", "cold", "http", "start"), action="append", help="measure just this; may be repeated")
    parser.add_argument("image", type=os.path.abspath)
    options = parser.parse_args()
    wanted = options.only or ["hot", "cold", "http", "start"]
    with tempfile.TemporaryDirectory(prefix="vmserve-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        folder = pathlib.Path(name)
        run(options.vmpack, "init", "-q", folder / "repo")
        run(options.vmpack, "ingest", "-q", "--no-os", "--repo", folder / "repo", options.image, "image:1")
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd", options.image, folder / "image.qcow2")
        window, filled = densest_window(options.image)
        figures = {}
        if "hot" in wanted:
            figures |= hot_figures(options, folder, window)
        if "cold" in wanted:
            figures |= cold_figures(options, folder)
        if "http" in wanted:
            figures |= http_figures(options, folder)
        if "start" in wanted:
            figures |= start_figure(options, folder)
        text = table(figures, options, window, filled)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
