// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <future>

#include "server/http/pages.hpp"
#include "tests/server/server_under_test.hpp"
#include "tests/support/run_command.hpp"

namespace vmpack::test {
namespace {

const SnapshotDigest kSnapshot(sha256(as_byte_view("a snapshot")));

struct HttpUnderTest : ServerUnderTest {
  explicit HttpUnderTest(const ServerLimits& limits = {}) : ServerUnderTest(limits) {
    catalog.snapshots_in_use = {kSnapshot};
    server->serve_http(std::move(open_listeners(UnixAddress{http_path()}).front()));
  }
  [[nodiscard]] std::string http_path() const { return folder / "http.sock"; }
  [[nodiscard]] CommandResult curl(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"curl", "-sS", "--max-time", "20", "--unix-socket", http_path()});
    return run_command(arguments);
  }
  /// What the server says to `request` until it closes the connection.
  [[nodiscard]] std::string talk(const std::string& request) const {
    const std::string script =
        "import socket, sys\n"
        "peer = socket.socket(socket.AF_UNIX)\n"
        "peer.connect(sys.argv[1])\n"
        "peer.sendall(sys.stdin.buffer.read())\n"
        "peer.settimeout(20)\n"
        "while data := peer.recv(4096): sys.stdout.buffer.write(data)\n";
    return run_command({"python3", "-c", script, http_path()}, {.input = request}).out;
  }
};

}  // namespace

TEST_CASE("pages tell what is in use, and that the server is well") {
  FakeCatalog catalog;
  catalog.snapshots_in_use = {kSnapshot};
  CHECK(http::answer("GET", "/healthz", catalog).body == "ok\n");
  const http::Answer page = http::answer("GET", "/in-use?x=1", catalog);
  CHECK(page.status == 200);
  CHECK(page.body.find(kSnapshot.hex()) != std::string::npos);
  CHECK(http::answer("GET", "/", catalog).status == 404);
  CHECK(http::answer("GET", "", catalog).status == 404);
  CHECK(http::answer("POST", "/in-use", catalog).status == 405);
}

TEST_CASE("curl gets pages, several over one connection") {
  const HttpUnderTest at;
  CHECK(at.curl({"http://x/healthz", "http://x/healthz"}).out == "ok\nok\n");
  CHECK(at.curl({"http://x/in-use"}).out.find(kSnapshot.hex()) != std::string::npos);
  const std::string head = at.curl({"-I", "http://x/in-use"}).out;
  CHECK(head.find("200 OK") != std::string::npos);
  CHECK(head.find(kSnapshot.hex()) == std::string::npos);
  CHECK(at.curl({"-o", "/dev/null", "-w", "%{http_code}", "-d", "a body", "http://x/in-use"}).out != "200");
}

TEST_CASE("what is no HTTP, or too much of it, ends the connection and nothing else") {
  const HttpUnderTest at;
  CHECK(at.talk("\x01\x02 nonsense\r\n\r\n").empty());
  CHECK(at.talk("GET / HTTP/1.1\r\nx: " + std::string(20'000, 'a') + "\r\n\r\n").empty());
  CHECK(at.talk("GET / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n").empty());
  CHECK(at.curl({"http://x/healthz"}).out == "ok\n");
}

TEST_CASE("a client that sends no request is not waited for") {
  ServerLimits limits;
  limits.handshake = std::chrono::seconds(1);
  const HttpUnderTest at(limits);
  auto silent = std::async(std::launch::async, [&] { return at.talk("GET"); });
  CHECK(silent.wait_for(std::chrono::seconds(15)) == std::future_status::ready);
  CHECK(ServerUnderTest::eventually([&] { return at.server->connections() == 0; }));
}

}  // namespace vmpack::test
