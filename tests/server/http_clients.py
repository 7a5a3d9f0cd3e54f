#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Real HTTP clients against vmserve and a repository made by vmpack, with and without TLS: curl, QEMU and nbdkit.

Needs what real_clients.py needs, and curl, qemu-img with its curl driver, nbdkit, openssl. Exit code 77: not here.
"""
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.parse

from real_clients import MIB, Server, World, check_all, digest_name, lacks, run
from real_clients_tls import make_certificates

IMAGE_BYTES = 48 * MIB + 1536  # not a multiple of 4 KiB
NAME = "web:v1"
SECRET = "0123456789abcdef0123456789abcdef"


def curl(*arguments, code=0):
    return run("curl", "-sS", "--fail", "--max-time", "60", *arguments, code=code).stdout


def url(server, path):
    return server.http_uris[0] + path


def image_url(server, name=NAME):
    return url(server, "/images/" + name)


def copies_with_curl(world, server):
    image, content = world.images[NAME]
    copy = os.path.join(world.folder, "curl.raw")
    for name in (NAME, digest_name(server, NAME), urllib.parse.quote(NAME, safe="")):
        curl("-o", copy, image_url(server, name))
        run("cmp", image, copy)
    os.truncate(copy, 17 * MIB + 3)
    curl("-C", "-", "-o", copy, image_url(server))
    run("cmp", image, copy)
    with open(copy, "wb") as file:
        subprocess.run(["curl", "-sS", "-r", "1000-1000999", image_url(server)], stdout=file, check=True)
    with open(copy, "rb") as file:
        assert file.read() == content[1000:1001000]
    head = curl("-I", image_url(server)).lower()
    assert f"content-length: {IMAGE_BYTES}" in head and "accept-ranges: bytes" in head, head
    curl("-C", str(IMAGE_BYTES + 1), "-o", copy, image_url(server), code=22)


def asks_again_only_for_what_changed(world, server):
    etag = os.path.join(world.folder, "etag")
    for path in ("/images/" + NAME, "/catalog.json", "/"):
        curl("--etag-save", etag, "-o", "/dev/null", url(server, path))
        status = curl("--etag-compare", etag, "-o", "/dev/null", "-w", "%{http_code} %{size_download}", url(server, path))
        assert status == "304 0", (path, status)


def boots_qemu_from_it(world, server):
    image, _ = world.images[NAME]
    fixed = image_url(server, digest_name(server, NAME))
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", image, fixed)
    info = json.loads(run("qemu-img", "info", "-f", "raw", "--output=json", fixed).stdout)
    assert info["virtual-size"] == IMAGE_BYTES, info
    overlay = os.path.join(world.folder, "overlay.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", fixed, overlay)
    run("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", "-c", "read -P 7 1M 64k", "-c", "read 10M 4M", overlay)
    converted = os.path.join(world.folder, "converted.raw")
    # QEMU 7.2's curl driver hangs when convert reads in parallel, whatever the server is.
    run("qemu-img", "convert", "-m", "1", "-f", "raw", "-O", "raw", fixed, converted)
    run("cmp", "-n", str(IMAGE_BYTES), image, converted)


def feeds_nbdkit(world, server):
    image, _ = world.images[NAME]
    for name in (NAME, digest_name(server, NAME)):
        run("nbdkit", "-U", "-", "curl", "url=" + image_url(server, name), "--run",
            f"qemu-img compare -f raw -F raw {image} \"$uri\"")


def answers_what_ipxe_sends(world, server):
    """As net/tcp/httpblock.c and httpcore.c do: HEAD for the size, then a range of whole sectors for each read."""
    _, content = world.images[NAME]
    host = server.http_uris[0].split("://")[1]
    connection = http.client.HTTPConnection(host, timeout=20)
    headers = {"User-Agent": "iPXE/1.0.0", "Connection": "keep-alive"}
    connection.request("HEAD", "/images/" + NAME, headers=headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200 and int(answer.headers["Content-Length"]) == IMAGE_BYTES
    assert answer.headers["Accept-Ranges"] == "bytes"
    for sector in (0, 1, 63, IMAGE_BYTES // 512 - 8):
        first, last = sector * 512, sector * 512 + 4095
        connection.request("GET", "/images/" + NAME, headers={**headers, "Range": f"bytes={first}-{last}"})
        answer = connection.getresponse()
        assert answer.status == 206 and answer.headers["Content-Range"] == f"bytes {first}-{last}/{IMAGE_BYTES}"
        assert answer.read() == content[first:last + 1]


def serves_peers_the_files_of_the_repository(world, server):
    checked = set()
    for folder, _, names in os.walk(world.repository):
        for name in names:
            path = os.path.join(folder, name)
            key = os.path.relpath(path, world.repository)
            kind = key.split("/")[0]
            status = subprocess.run(["curl", "-sS", "-o", os.path.join(world.folder, "value"), "-w", "%{http_code}",
                                     url(server, "/" + key)], stdout=subprocess.PIPE, text=True, check=True).stdout
            if kind in ("packs", "maps", "places", "snapshots", "files"):
                assert status == "200", (key, status)
                run("cmp", path, os.path.join(world.folder, "value"))
                checked.add(kind)
            else:
                assert status == "404", (key, status)
    assert {"packs", "maps", "places", "snapshots"} <= checked, checked


def tells_what_there_is(world, server):
    catalog = json.loads(curl(url(server, "/catalog.json")))
    assert catalog["complete"] and [row["reference"] for row in catalog["references"]] == sorted(world.images)
    row = catalog["references"][0]
    assert row["image_bytes"] == IMAGE_BYTES and row["data_bytes"] > 0 and row["stored_bytes"] > 0, row
    entry = json.loads(curl(url(server, f"/catalog/{NAME}.json")))
    assert entry["snapshot"] == row["snapshot"] and entry["manifest"]["image"]["bytes"] == IMAGE_BYTES
    status = json.loads(curl(url(server, "/status.json")))
    assert status["repository"]["references"] == len(world.images) and status["traffic"]["http"]["bytes"] > IMAGE_BYTES
    for line in curl(url(server, "/metrics")).splitlines():
        assert line.startswith(("# ", "vmserve_")) and len(line.split()) >= 2, line


def serves_many_at_once(world, server):
    image, _ = world.images[NAME]
    copies = [os.path.join(world.folder, f"copy{i}.raw") for i in range(8)]
    threads = [threading.Thread(target=curl, args=("-o", copy, image_url(server))) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for copy in copies:
        run("cmp", image, copy)
        os.remove(copy)


CHECKS = (copies_with_curl, asks_again_only_for_what_changed, boots_qemu_from_it, feeds_nbdkit, answers_what_ipxe_sends,
          serves_peers_the_files_of_the_repository, tells_what_there_is, serves_many_at_once)


def https_takes_certificates_and_tokens(world, _):
    certificates = os.path.join(world.folder, "certificates")
    make_certificates(certificates)

    def path(name):
        return os.path.join(certificates, name)

    with open(path("token"), "w") as file:
        file.write(SECRET + "\n")
    with open(path("vmserve.toml"), "w") as file:
        file.write('[[access]]\nexports = ["*"]\nclients = ["cert:host-7", "token:ci"]\n\n'
                   f'[[token]]\nname = "ci"\nfile = "{path("token")}"\n')
    folder = os.path.join(world.folder, "https")
    os.mkdir(folder)
    server = Server(world.vmserve, world.repository, folder, "--http", "127.0.0.1:0", "--https", "--tls-certificates",
                    certificates, "--config", path("vmserve.toml"))
    try:
        image, _ = world.images[NAME]
        target = server.http_uris[0].replace("127.0.0.1", "localhost").replace("http://", "https://") + "/images/" + NAME
        copy = os.path.join(world.folder, "https.raw")
        trust = ("--cacert", path("ca-cert.pem"))
        curl(*trust, "-o", "/dev/null", target, code=22)
        curl("-o", "/dev/null", target, code=60)
        for proof in (("-H", "Authorization: Bearer " + SECRET), ("-u", "any:" + SECRET),
                      ("--cert", path("client-cert.pem"), "--key", path("client-key.pem"))):
            curl(*trust, *proof, "-o", copy, target)
            run("cmp", image, copy)
        with_password = target.replace("https://", f"https://any:{SECRET}@")
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", image,
            "json:" + json.dumps({"driver": "raw", "file": {"driver": "https", "url": with_password, "sslverify": "off"}}))
        run("nbdkit", "-U", "-", "curl", "url=" + target, "cainfo=" + path("ca-cert.pem"), "user=any", "password=" + SECRET,
            "--run", f"qemu-img compare -f raw -F raw {image} \"$uri\"")
        plain = subprocess.run(["curl", "-sS", "--max-time", "20", target.replace("https://", "http://")],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        assert plain.returncode != 0 and not plain.stdout, plain
        assert SECRET not in server.log()
    finally:
        server.stop()


def main():
    if lacks("curl", "qemu-img", "qemu-io", "nbdkit", "nbdinfo", "openssl", "cmp"):
        return 77
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder)
        world.ingest(NAME, 1, IMAGE_BYTES)
        world.ingest("web:v2", 2, IMAGE_BYTES)
        server = Server(world.vmserve, world.repository, folder, "--http", "127.0.0.1:0")
        check_all(CHECKS, world, server)
        server.stop()
        check_all((https_takes_certificates_and_tokens,), world, server)
    return 0


if __name__ == "__main__":
    sys.exit(main())
