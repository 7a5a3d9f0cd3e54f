#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An S3 server for tests: one bucket in memory, signatures checked, and faults on request.

usage: s3_stub.py --ready-file FILE [options]; the file then holds the endpoint's URL. It ends by SIGTERM, or
with the process that started it.

The bucket is "bucket", any other is missing; keys and secrets are in KEYS. Whoever wants faults sends POST /_control with
{"faults": [...]}, perhaps with "conditions" as the option has it, "pass" (seconds by which the clock that dates values and answers
moves on; signatures are held against the true one), or "empty" (all values go). A fault has a "kind" and any of "count" (1), "method",
"key" (a regular expression), "skip" (requests to leave alone first), "status", "code", "region", "headers",
"retry_after", "seconds", "bytes". GET /_control tells what has been asked of the server: requests, connections, open
uploads.
"""
import argparse
import datetime
import email.utils
import hashlib
import hmac
import json
import os
import re
import signal
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape

# What each access key may do; a session token where one is needed.
KEYS = {
    "tester": {"secret": "s3cret/of+the=tester", "write": True},
    "reader": {"secret": "reader-secret", "write": False},
    "stranger": {"secret": "stranger-secret", "write": False, "read": False},
    "temporary": {"secret": "temporary-secret", "write": True, "token": "token/of+today=="},
}
REGION = "stub-region-1"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
SKEW_MAX = 900


class S3Error(Exception):
    def __init__(self, status, code, message="", region=None, headers=()):
        super().__init__(code)
        self.status, self.code, self.message, self.region, self.headers = status, code, message, region, headers

    def body(self):
        region = f"<Region>{self.region}</Region>" if self.region else ""
        return (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{self.code}</Code>'
            f"<Message>{escape(self.message)}</Message>{region}<RequestId>1</RequestId></Error>"
        ).encode()


class Value:
    def __init__(self, data, put_id, tag=None):
        self.data, self.put_id = data, put_id
        self.tag = tag or f'"{hashlib.md5(data).hexdigest()}"'
        self.time = None


class Request:
    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body
        path, _, query = target.partition("?")
        self.raw_path, self.raw_query = path, query
        self.path = urllib.parse.unquote(path)
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.key = ""


class Reply:
    def __init__(self, status, body=b"", headers=None):
        self.status, self.body, self.headers = status, body, headers or {}


def quote(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-_.~")


def hmac_sha256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Signatures:
    """AWS signature version 4, from its specification: nothing of the client's is used."""

    def __init__(self, clock):
        self.clock = clock
        self.keys = {}

    def signing_key(self, secret, date, region):
        known = self.keys.get((secret, date, region))
        if known is None:
            known = b"AWS4" + secret.encode()
            for part in (date, region, "s3", "aws4_request"):
                known = hmac_sha256(known, part)
            self.keys[(secret, date, region)] = known
        return known

    def check(self, request):
        """The entry of KEYS that signed the request; S3Error for anything wrong."""
        headers = request.headers
        match = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})",
            headers.get("authorization", ""),
        )
        if not match:
            raise S3Error(403, "AccessDenied", "there is no signature")
        access_key, date, region, signed, signature = match.groups()
        user = KEYS.get(access_key)
        if user is None:
            raise S3Error(403, "InvalidAccessKeyId")
        if region != REGION:
            raise S3Error(400, "AuthorizationHeaderMalformed", f"the region '{region}' is wrong", REGION)
        self.check_date(headers.get("x-amz-date", ""), date)
        names = signed.split(";")
        must = {"host"} | {name for name in headers if name.startswith("x-amz-")}
        if names != sorted(names) or not must <= set(names):
            raise S3Error(403, "SignatureDoesNotMatch", f"not signed: {must - set(names)}")
        payload = headers.get("x-amz-content-sha256")
        if payload is None:
            raise S3Error(400, "InvalidRequest", "there is no x-amz-content-sha256")
        if payload != "UNSIGNED-PAYLOAD" and payload != hashlib.sha256(request.body).hexdigest():
            raise S3Error(400, "XAmzContentSHA256Mismatch")
        if hmac.compare_digest(signature, self.signature(request, user["secret"], date, names, payload)) is False:
            raise S3Error(403, "SignatureDoesNotMatch")
        if headers.get("x-amz-security-token", "") != user.get("token", ""):
            raise S3Error(400, "InvalidToken")
        return user

    def check_date(self, text, date):
        try:
            then = datetime.datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        except ValueError:
            raise S3Error(403, "AccessDenied", "there is no date") from None
        if not text.startswith(date):
            raise S3Error(403, "SignatureDoesNotMatch", "two dates")
        if abs(then.timestamp() - self.clock()) > SKEW_MAX:
            raise S3Error(403, "RequestTimeTooSkewed")

    def signature(self, request, secret, date, names, payload):
        pairs = urllib.parse.parse_qsl(request.raw_query, keep_blank_values=True)
        query = "&".join(f"{name}={value}" for name, value in sorted((quote(n), quote(v)) for n, v in pairs))
        lines = [request.method, quote(request.path, "/"), query]
        lines += [f"{name}:{' '.join(request.headers[name].split())}" for name in names if name in request.headers]
        canonical = "\n".join(lines + ["", ";".join(names), payload])
        region = REGION
        text = "\n".join(
            [
                "AWS4-HMAC-SHA256",
                request.headers["x-amz-date"],
                f"{date}/{region}/s3/aws4_request",
                hashlib.sha256(canonical.encode()).hexdigest(),
            ]
        )
        return hmac.new(self.signing_key(secret, date, region), text.encode(), hashlib.sha256).hexdigest()


class Faults:
    """Requests to fail, in the order in which they were asked for."""

    def __init__(self):
        self.lock = threading.Lock()
        self.waiting = []

    def add(self, faults):
        with self.lock:
            self.waiting = list(faults)

    def of(self, request):
        with self.lock:
            for fault in self.waiting:
                if fault.get("method", request.method) != request.method or not re.search(fault.get("key", ""), request.key):
                    continue
                if "range" in fault["kind"] and "range" not in request.headers:
                    continue
                if fault.get("skip", 0) > 0:
                    fault["skip"] -= 1
                    continue
                if fault.setdefault("count", 1) > 0:
                    fault["count"] -= 1
                    return fault
        return None


class Bucket:
    """Every method is one S3 operation: takes a Request, returns a Reply or raises S3Error."""

    def __init__(self, options, clock):
        self.options, self.clock = options, clock
        self.lock = threading.Lock()
        self.values = {}
        self.uploads = {}
        self.upload_count = 0

    def handle(self, request):
        operations = {
            ("GET", False): self.list,
            ("HEAD", True): self.get,
            ("GET", True): self.get,
            ("PUT", True): self.put_part if "uploadId" in request.query else self.put,
            ("POST", True): self.begin if "uploads" in request.query else self.complete,
            ("DELETE", True): self.abort if "uploadId" in request.query else self.delete,
        }
        operation = operations.get((request.method, bool(request.key)))
        if operation is None:
            raise S3Error(405, "MethodNotAllowed")
        with self.lock:
            return operation(request)

    def check_conditions(self, request, heeded):
        """Raises unless what If-None-Match and If-Match say holds."""
        only_new, tag = request.headers.get("if-none-match"), request.headers.get("if-match")
        if not only_new and not tag:
            return
        if self.options.conditions == "refused":
            raise S3Error(501, "NotImplemented", "a header you provided implies functionality that is not implemented")
        if self.options.conditions == "ignored" or not heeded:
            return
        value = self.values.get(request.key)
        if only_new and value is not None:
            raise S3Error(412, "PreconditionFailed")
        if tag and value is None:
            raise S3Error(404, "NoSuchKey")
        if tag and tag != (value.tag.strip('"') if self.options.conditions == "bare" else value.tag):
            raise S3Error(412, "PreconditionFailed")

    def store(self, request, value):
        used = sum(len(other.data) for other in self.values.values()) if self.options.quota else 0
        if self.options.quota and used + len(value.data) > self.options.quota:
            raise S3Error(403, "QuotaExceeded")
        value.time = int(self.clock())
        self.values[request.key] = value

    def put(self, request):
        self.check_conditions(request, True)
        value = Value(request.body, request.headers.get("x-amz-meta-vmpack-put", ""))
        self.store(request, value)
        return Reply(200, headers={"ETag": value.tag})

    def get(self, request):
        value = self.values.get(request.key)
        if value is None:
            raise S3Error(404, "NoSuchKey")
        headers = {"ETag": value.tag, "Last-Modified": email.utils.formatdate(value.time, usegmt=True), "Accept-Ranges": "bytes"}
        if value.put_id:
            headers["x-amz-meta-vmpack-put"] = value.put_id
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if not asked:
            return Reply(200, value.data, headers)
        first, last = int(asked[1]), min(int(asked[2]), len(value.data) - 1)
        if first >= len(value.data):
            raise S3Error(416, "InvalidRange", headers=[("Content-Range", f"bytes */{len(value.data)}")])
        headers["Content-Range"] = f"bytes {first}-{last}/{len(value.data)}"
        return Reply(206, value.data[first : last + 1], headers)

    def delete(self, request):
        self.values.pop(request.key, None)
        return Reply(204)

    def list(self, request):
        if request.query.get("list-type") != "2" or request.query.get("encoding-type") != "url":
            raise S3Error(400, "InvalidArgument")
        prefix = request.query.get("prefix", "")
        after = urllib.parse.unquote(request.query.get("continuation-token", ""))
        keys = sorted(key for key in self.values if key.startswith(prefix) and key > after)
        page = keys[: self.options.page]
        contents = "".join(
            f"<Contents><Key>{quote(key, '/')}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(self.values[key].tag)}</ETag><Size>{len(self.values[key].data)}</Size></Contents>"
            for key in page
        )
        more = len(keys) > len(page)
        token = f"<NextContinuationToken>{quote(page[-1])}</NextContinuationToken>" if more else ""
        return Reply(
            200,
            (
                '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<Name>bucket</Name><Prefix>{quote(prefix, '/')}</Prefix><IsTruncated>{str(more).lower()}</IsTruncated>"
                f"{contents}{token}</ListBucketResult>"
            ).encode(),
            {"Content-Type": "application/xml"},
        )

    def begin(self, request):
        self.upload_count += 1
        upload = f"upload/{self.upload_count}+="
        self.uploads[upload] = (request.key, request.headers.get("x-amz-meta-vmpack-put", ""), {})
        return Reply(
            200,
            f"<InitiateMultipartUploadResult><Bucket>bucket</Bucket><UploadId>{upload}</UploadId>"
            "</InitiateMultipartUploadResult>".encode(),
        )

    def upload_of(self, request):
        upload = self.uploads.get(request.query["uploadId"])
        if upload is None or upload[0] != request.key:
            raise S3Error(404, "NoSuchUpload")
        return upload

    def put_part(self, request):
        _, _, parts = self.upload_of(request)
        parts[int(request.query["partNumber"])] = request.body
        return Reply(200, headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})

    def complete(self, request):
        _, put_id, parts = self.upload_of(request)
        self.check_conditions(request, self.options.conditions != "single")
        named = re.findall(r"<PartNumber>(\d+)</PartNumber><ETag>(\"[0-9a-f]+\")</ETag>", request.body.decode())
        for number, tag in named:
            if hashlib.md5(parts.get(int(number), b"")).hexdigest() != tag.strip('"'):
                raise S3Error(400, "InvalidPart")
        if any(len(parts[int(number)]) < self.options.part_min for number, _ in named[:-1]):
            raise S3Error(400, "EntityTooSmall")
        data = b"".join(parts[int(number)] for number, _ in named)
        self.store(request, Value(data, put_id, f'"{hashlib.md5(data).hexdigest()}-{len(named)}"'))
        del self.uploads[request.query["uploadId"]]
        return Reply(200, b"<CompleteMultipartUploadResult><Key>key</Key></CompleteMultipartUploadResult>")

    def abort(self, request):
        self.upload_of(request)
        del self.uploads[request.query["uploadId"]]
        return Reply(204)


class Server:
    def __init__(self, options):
        self.options = options
        self.bucket = Bucket(options, self.clock)
        self.signatures = Signatures(lambda: time.time() + options.clock_offset)
        self.passed = 0
        self.faults = Faults()
        self.requests = []
        self.connections = 0
        self.date = (0, "")

    def clock(self):
        return time.time() + self.options.clock_offset + self.passed

    def date_text(self):
        now = int(self.clock())
        if self.date[0] != now:
            self.date = (now, email.utils.formatdate(now, usegmt=True))
        return self.date[1]

    def serve(self, connection):
        self.connections += 1
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = connection.makefile("rb", 1 << 16)
            while self.serve_one(connection, stream):
                pass
        except (OSError, ssl.SSLError, ValueError):
            pass
        finally:
            connection.close()

    def serve_one(self, connection, stream):
        line = stream.readline(65536)
        if not line:
            return False
        method, target, _ = line.decode("latin-1").split(" ", 2)
        headers = {}
        while (line := stream.readline(65536).decode("latin-1").strip()):
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = stream.read(int(headers.get("content-length", "0")))
        request = Request(method, target, headers, body)
        if request.path == "/_control":
            return self.send(connection, request, self.control(request))
        return self.answer(connection, request)

    def control(self, request):
        if request.method == "POST":
            wanted = json.loads(request.body)
            if "faults" in wanted:
                self.faults.add(wanted["faults"])
            self.options.conditions = wanted.get("conditions", self.options.conditions)
            self.passed += wanted.get("pass", 0)
            if wanted.get("empty"):
                self.bucket.values.clear()
            self.requests = []
            return Reply(200)
        uploads = len(self.bucket.uploads)
        told = {"requests": self.requests, "connections": self.connections, "uploads": uploads}
        return Reply(200, json.dumps(told).encode())

    def find_bucket(self, request):
        """Takes the bucket's name from the host or the path, and leaves the key."""
        host = request.headers.get("host", "").partition(":")[0]
        if host.endswith(".localhost"):
            bucket, request.key = host.removesuffix(".localhost"), request.path[1:]
        else:
            bucket, _, request.key = request.path[1:].partition("/")
        return bucket

    def answer(self, connection, request):
        bucket = self.find_bucket(request)
        fault = self.faults.of(request)
        if fault and fault["kind"] in BEFORE:
            return BEFORE[fault["kind"]](self, connection, request, fault)
        try:
            user = self.signatures.check(request)
            if bucket != "bucket":
                raise S3Error(404, "NoSuchBucket")
            if not user["write" if request.method in ("PUT", "POST", "DELETE") else "read"]:
                raise S3Error(403, "AccessDenied")
            reply = self.bucket.handle(request)
        except S3Error as error:
            reply = Reply(error.status, error.body(), {"Content-Type": "application/xml", **dict(error.headers)})
        self.requests.append(f"{request.method} {request.key}{'?' if request.raw_query else ''}{request.raw_query} {reply.status}")
        if fault:
            return AFTER[fault["kind"]](self, connection, request, reply, fault)
        return self.send(connection, request, reply)

    def head(self, reply, length):
        lines = [f"HTTP/1.1 {reply.status} Status", f"Date: {self.date_text()}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        if reply.status != 204:
            lines.append(f"Content-Length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def send(self, connection, request, reply):
        head = self.head(reply, len(reply.body))
        if request.method == "HEAD":
            connection.sendall(head)
        elif len(reply.body) < 1 << 16:
            connection.sendall(head + reply.body)
        else:
            connection.sendall(head)
            connection.sendall(reply.body)
        return True


# Faults in the place of an answer.


def fail_status(server, connection, request, fault):
    error = S3Error(fault["status"], fault.get("code", ""), "a fault that was asked for", fault.get("region"))
    headers = {"Retry-After": str(fault["retry_after"])} if "retry_after" in fault else {}
    headers.update(fault.get("headers", {}))
    server.requests.append(f"{request.method} {request.key} {error.status}")
    return server.send(connection, request, Reply(error.status, error.body() if error.code else b"", headers))


def fail_reset(server, connection, request, fault):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def fail_stall(server, connection, request, fault):
    time.sleep(fault["seconds"])
    return False


def fail_garbage(server, connection, request, fault):
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n" * 4)
    return False


def fail_headers(server, connection, request, fault):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for i in range(100_000):
        connection.sendall(b"X-Header-%d: %s\r\n" % (i, b"x" * 1000))
    return False


def fail_raw(server, connection, request, fault):
    """Exactly these bytes."""
    connection.sendall(fault["bytes"].encode())
    return False


BEFORE = {
    "status": fail_status,
    "reset": fail_reset,
    "stall": fail_stall,
    "garbage": fail_garbage,
    "headers": fail_headers,
    "raw": fail_raw,
}


# Faults of an answer: what was asked for has been done.


def lose_reply(server, connection, request, reply, fault):
    return fail_reset(server, connection, request, fault)


def truncate(server, connection, request, reply, fault):
    connection.sendall(server.head(reply, len(reply.body)) + reply.body[: len(reply.body) // 2])
    return False


def stall_body(server, connection, request, reply, fault):
    connection.sendall(server.head(reply, len(reply.body)) + reply.body[: len(reply.body) // 2])
    return fail_stall(server, connection, request, fault)


def shift_range(server, connection, request, reply, fault):
    """Other bytes than were asked for, and the header says so."""
    first, last, total = map(int, re.findall(r"\d+", reply.headers["Content-Range"]))
    reply.headers["Content-Range"] = f"bytes {first + 1}-{last + 1}/{total}"
    return server.send(connection, request, reply)


def shorten_range(server, connection, request, reply, fault):
    """Fewer bytes than the header says."""
    reply.body = reply.body[:-1]
    return server.send(connection, request, reply)


def ignore_range(server, connection, request, reply, fault):
    whole = server.bucket.values[request.key].data
    del reply.headers["Content-Range"]
    return server.send(connection, request, Reply(200, whole, reply.headers))


def error_in_200(server, connection, request, reply, fault):
    return server.send(connection, request, Reply(200, S3Error(200, fault.get("code", "InternalError")).body()))


AFTER = {
    "lost_reply": lose_reply,
    "truncate": truncate,
    "stall_body": stall_body,
    "shift_range": shift_range,
    "shorten_range": shorten_range,
    "ignore_range": ignore_range,
    "error_in_200": error_in_200,
}


def listen(options):
    sockets = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, sockets[0].getsockname()[1] if sockets else options.port))
            listener.listen(256)
            sockets.append(listener)
        except OSError:
            if not sockets:
                raise
    return sockets


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ready-file", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--conditions", choices=("heeded", "bare", "single", "ignored", "refused"), default="heeded",
                        help="of puts: heeded; with tags that have no quotes; for single requests alone; ignored; refused")
    parser.add_argument("--page", type=int, default=1000, help="keys in a page of a list")
    parser.add_argument("--part-min", type=int, default=0, help="bytes that all parts but the last must have")
    parser.add_argument("--quota", type=int, default=0, help="bytes that fit; 0: no limit")
    parser.add_argument("--clock-offset", type=int, default=0, help="seconds that the server's clock is ahead")
    parser.add_argument("--tls", help="a file with certificate and key: serve https")
    options = parser.parse_args()
    started_by = os.getppid()
    for user in KEYS.values():
        user.setdefault("read", True)
    server = Server(options)
    listeners = listen(options)
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.tls)

    def serve(connection):
        try:
            server.serve(context.wrap_socket(connection, server_side=True) if context else connection)
        except (OSError, ssl.SSLError):
            connection.close()

    def accept(listener):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    for listener in listeners:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
    url = f"{'https' if context else 'http'}://localhost:{listeners[0].getsockname()[1]}"
    with open(options.ready_file + ".new", "w", encoding="ascii") as file:
        file.write(url)
    os.rename(options.ready_file + ".new", options.ready_file)
    # A test that was killed leaves nobody to end this.
    while signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, 1) is None and os.getppid() == started_by:
        pass


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    sys.exit(main())
