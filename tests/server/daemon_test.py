#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmserve as a service manager and an administrator see it: sockets handed over, readiness, reloads, limits, logs.

Needs the programs in $VMPACK and $VMSERVE, and libnbd's tools and Python module. Exit code 77: not here.
"""
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from real_clients import World, nbd, run

MIB = 1024 * 1024
NOBODY = 65534


class Manager:
    """What systemd is to a service: listens for it, hands over the sockets, and is told how it does."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.nbd = socket.socket(socket.AF_UNIX)
        self.nbd_path = os.path.join(folder, "activated.sock")
        self.nbd.bind(self.nbd_path)
        self.nbd.listen()
        self.http = socket.create_server(("127.0.0.1", 0))

    def start(self, command, log):
        """sh knows the process id that the program will have."""
        environment = dict(os.environ, LISTEN_FDS="2", LISTEN_FDNAMES="nbd:http", NOTIFY_SOCKET=self.path,
                           WATCHDOG_USEC="2000000")
        first, second = self.nbd.fileno(), self.http.fileno()

        def hand_over():
            kept = [os.dup(first), os.dup(second)]
            for number, descriptor in enumerate(kept, start=3):
                os.dup2(descriptor, number)

        return subprocess.Popen(["sh", "-c", 'LISTEN_PID=$$ exec "$0" "$@"', *command], env=environment, close_fds=False,
                                preexec_fn=hand_over, stderr=log)

    def wait_for(self, line, seconds=20):
        """The message that holds the line."""
        deadline = time.monotonic() + seconds
        seen = []
        while True:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                seen.append(self.socket.recv(4096).decode())
            except TimeoutError:
                raise AssertionError(f"the service never said {line}; it said {seen}") from None
            if line in seen[-1].split("\n"):
                return seen[-1]


class Daemon:
    """vmserve with a file of settings, on a unix socket and a port."""

    def __init__(self, world, text="", flags=(), before=(), owner=None):
        self.folder = tempfile.mkdtemp(dir=world.folder)
        if owner is not None:
            os.chown(self.folder, owner, -1)
        self.config = os.path.join(self.folder, "vmserve.toml")
        self.socket = os.path.join(self.folder, "nbd.sock")
        self.head = (f'repo = "{world.repository}"\nnbd = ["unix:nbd.sock", "127.0.0.1:0"]\ncache = "64M"\n'
                     'ready-file = "ready"\nlog-format = "json"\nthreads = 2\n')
        self.write(text)
        self.log_path = os.path.join(self.folder, "log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([*before, world.vmserve, "--config", self.config, *flags], stderr=log)
        self.wait(lambda: os.path.exists(os.path.join(self.folder, "ready")))
        with open(os.path.join(self.folder, "ready")) as uris:
            self.tcp_uri, *http = uris.read().split()[1:]
        self.http_uri = http[0].rstrip("/") if http else None

    def write(self, text, head=None):
        with open(self.config, "w") as file:
            file.write((head or self.head) + text)

    def reload(self, text, head=None):
        said = len(self.messages())
        self.write(text, head)
        self.process.send_signal(signal.SIGHUP)
        self.wait(lambda: any("reloaded" in line for line in self.messages()[said:]))
        return self.messages()[said:]

    def wait(self, condition, seconds=20):
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def log(self):
        with open(self.log_path) as log:
            return log.read()

    def lines(self):
        return [json.loads(line) for line in self.log().splitlines() if line.endswith("}")]

    def messages(self):
        return [line["message"] for line in self.lines()]

    def connect(self, export="web:v1", tcp=False):
        client = nbd.NBD()
        client.connect_uri(f"{self.tcp_uri}/{export}" if tcp else f"nbd+unix:///{export}?socket={self.socket}")
        return client

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0, self.log()
        assert not os.path.exists(self.socket) and not os.path.exists(os.path.join(self.folder, "ready"))


def refused(connect):
    try:
        connect()
    except nbd.Error:
        return True
    return False


# ---- what is promised; each takes the world ----

def takes_sockets_and_reports_to_its_manager(world):
    with tempfile.TemporaryDirectory(dir=world.folder) as folder, open(os.path.join(folder, "log"), "wb") as log:
        manager = Manager(folder)
        process = manager.start([world.vmserve, "--repo", world.repository, "--cache", "64M", "--drain", "2"], log)
        manager.wait_for("READY=1")
        size = run("nbdinfo", "--size", f"nbd+unix:///web:v1?socket={manager.nbd_path}").stdout
        assert int(size) == os.path.getsize(world.images["web:v1"][0]), size
        port = manager.http.getsockname()[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert answer.status == 200
        for _ in range(3):
            manager.wait_for("WATCHDOG=1", seconds=4)
        process.send_signal(signal.SIGHUP)
        message = manager.wait_for("RELOADING=1")
        assert "MONOTONIC_USEC=" in message, message
        manager.wait_for("READY=1")
        process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        assert process.wait(timeout=20) == 0
        assert os.path.exists(manager.nbd_path), "the socket is the manager's"


def reloads_what_can_change_and_keeps_what_was_when_the_file_is_wrong(world):
    daemon = Daemon(world, "[limits]\nconnections = 1\n")
    first = daemon.connect()
    assert refused(daemon.connect)
    daemon.reload("[limits]\nconnections = 10\n")
    second = daemon.connect()
    said = daemon.reload("[limits]\nconnections = lots\n")
    assert any("not reloaded" in line and "vmserve.toml:8" in line for line in said), said
    third = daemon.connect()
    said = daemon.reload("", daemon.head.replace("64M", "128M"))
    assert any("only a restart can change cache" in line for line in said), said
    for client in (first, second, third):
        assert client.pread(512, 0) == world.images["web:v1"][1][:512]
        client.shutdown()
    daemon.stop()


def a_second_signal_ends_the_wait_for_a_client_that_takes_nothing(world):
    daemon = Daemon(world, flags=["--drain", "60"])
    client = daemon.connect()
    buffers = [nbd.Buffer(16 * MIB) for _ in range(4)]
    for buffer in buffers:
        client.aio_pread(buffer, 0)  # sent, and nothing is read of the replies
    client.poll(10)
    daemon.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert daemon.process.poll() is None, "requests were under way"
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(timeout=10) == 0, daemon.log()


def one_address_cannot_take_all_connections(world):
    daemon = Daemon(world, "[limits]\nconnections-per-address = 2\n")
    clients = [daemon.connect(tcp=True) for _ in range(2)]
    assert refused(lambda: daemon.connect(tcp=True))
    clients.append(daemon.connect())
    clients.pop(0).shutdown()
    daemon.wait(lambda: not refused(lambda: clients.append(daemon.connect(tcp=True))))
    daemon.stop()


def goes_on_when_descriptors_run_out(world):
    daemon = Daemon(world)
    first = daemon.connect()
    first.pread(512, 0)  # from now on the store's files are open: some descriptors are kept free for them
    used = len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
    hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (used + 1, hard))
    waiting = []
    for _ in range(5):
        waiting.append(socket.socket(socket.AF_UNIX))
        waiting[-1].connect(daemon.socket)
    daemon.wait(lambda: any("cannot accept a connection" in line for line in daemon.messages()))
    assert first.pread(512, 0) == world.images["web:v1"][1][:512]
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
    for client in waiting:
        client.settimeout(20)
        assert client.recv(8) == b"NBDMAGIC"
    daemon.stop()


def takes_fewer_connections_where_few_descriptors_are_allowed(world):
    daemon = Daemon(world, before=["prlimit", "--nofile=300:300"])
    assert any("connections instead of 1,024" in line for line in daemon.messages()), daemon.log()
    clients = [daemon.connect() for _ in range(90)]
    assert all(client.pread(512, 0) == world.images["web:v1"][1][:512] for client in clients)
    daemon.stop()


def tells_of_each_connection_in_one_line(world):
    daemon = Daemon(world)
    client = daemon.connect()
    client.pread(4096, 0)
    client.shutdown()
    daemon.wait(lambda: any(line.get("event") == "connection" for line in daemon.lines()))
    records = [line for line in daemon.lines() if line.get("event") == "connection"]
    assert len(records) == 1, records
    record = records[0]
    assert record["export"] == "web:v1" and record["protocol"] == "nbd" and record["peer"].startswith("unix"), record
    assert record["requests"] == 2 and record["bytes_sent"] > 0 and record["failures"] == 0, record
    assert len(record["snapshot"]) == 64 and record["seconds"] >= 0 and record["end"] == "closed", record
    about = [line for line in daemon.lines() if "web:v1" in line["message"]]
    assert len(about) == 1, about
    daemon.stop()


def a_flood_of_nonsense_does_not_flood_the_log(world):
    daemon = Daemon(world)
    for _ in range(500):
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client, contextlib.suppress(OSError):
            client.connect(daemon.socket)
            client.sendall(b"\xff" * 64)
            client.settimeout(5)
            while client.recv(4096):
                pass
    daemon.stop()
    assert len(daemon.lines()) < 60, daemon.log()
    assert any("more like this were not shown" in line for line in daemon.messages()), daemon.log()


def packs_of(world):
    folder = os.path.join(world.repository, "packs")
    return {os.path.join(path, name) for path, _, names in os.walk(folder) for name in names}


def counted(daemon, metric):
    """The sum of a metric, over whatever it is told apart by."""
    with urllib.request.urlopen(f"{daemon.http_uri}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(metric))


def a_lost_file_fails_its_own_reads_and_no_others(world):
    """And when it is back, they succeed."""
    before = packs_of(world)
    world.ingest("db:v1", 9)
    lost = packs_of(world) - before
    daemon = Daemon(world, flags=["--http", "127.0.0.1:0"])
    web, db = daemon.connect("web:v1"), daemon.connect("db:v1")
    for pack in lost:
        os.rename(pack, pack + ".away")
    content = world.images["db:v1"][1]
    offsets = range(0, len(content) - 4096, MIB)
    failed = [offset for offset in offsets if refused(lambda: db.pread(4096, offset))]
    assert failed, "all of it was read without its packs"
    for offset in failed:
        assert web.pread(4096, offset) == world.images["web:v1"][1][offset:offset + 4096]
    assert any("db:v1" in line["message"] for line in daemon.lines() if line["level"] == "error"), daemon.log()
    daemon.wait(lambda: counted(daemon, "vmserve_failures_total") == len(failed))
    for pack in lost:
        os.rename(pack + ".away", pack)
    assert all(db.pread(4096, offset) == content[offset:offset + 4096] for offset in failed)
    db.shutdown()
    daemon.wait(lambda: any(line.get("export") == "db:v1" for line in daemon.lines()))
    record = next(line for line in daemon.lines() if line.get("export") == "db:v1")
    assert record["failures"] == len(failed), (record, len(failed))
    daemon.stop()


def closes_what_asks_for_nothing(world):
    daemon = Daemon(world, "[limits]\nidle = 1\n")
    client = daemon.connect()
    daemon.wait(lambda: any("asked for nothing" in line for line in daemon.messages()))
    assert refused(lambda: client.pread(512, 0))
    daemon.stop()


def gives_up_root_and_its_rights(world):
    if os.geteuid() != 0:
        return
    os.chmod(world.folder, 0o755)
    daemon = Daemon(world, 'user = "nobody"\n', owner=NOBODY)
    with open(f"/proc/{daemon.process.pid}/status") as status:
        facts = dict(line.split(":\t", 1) for line in status.read().splitlines() if ":\t" in line)
    assert set(facts["Uid"].split()) == {str(NOBODY)} and facts["CapEff"].strip("0") == "", facts
    assert facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2", facts
    assert daemon.connect().pread(512, 0) == world.images["web:v1"][1][:512]
    daemon.stop()


PROMISES = [
    takes_sockets_and_reports_to_its_manager,
    reloads_what_can_change_and_keeps_what_was_when_the_file_is_wrong,
    a_second_signal_ends_the_wait_for_a_client_that_takes_nothing,
    one_address_cannot_take_all_connections,
    goes_on_when_descriptors_run_out,
    takes_fewer_connections_where_few_descriptors_are_allowed,
    tells_of_each_connection_in_one_line,
    a_flood_of_nonsense_does_not_flood_the_log,
    a_lost_file_fails_its_own_reads_and_no_others,
    closes_what_asks_for_nothing,
    gives_up_root_and_its_rights,
]


def main():
    chosen = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="vmserve-") as folder:
        world = World(folder)
        world.ingest("web:v1", 1)
        for promise in PROMISES:
            if chosen and promise.__name__ not in chosen:
                continue
            started = time.monotonic()
            promise(world)
            print(f"ok: {promise.__name__} ({time.monotonic() - started:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
