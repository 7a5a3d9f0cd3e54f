// SPDX-License-Identifier: Apache-2.0
// Whole HTTP connections to a real server, over a unix socket: right and wrong sequences of requests.
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "server/http/site.hpp"
#include "tests/server/server_under_test.hpp"
#include "tests/support/files.hpp"
#include "tests/support/hooked_store.hpp"
#include "tests/support/memory_store.hpp"
#include "tests/support/run_command.hpp"

namespace vmpack::test {
namespace {

const SnapshotDigest kSnapshot(sha256(as_byte_view("a snapshot")));
const std::string kSecret = "0123456789abcdef0123456789abcdef";

/// What `fails` throws before an operation is how that fails.
std::shared_ptr<Repository> make_repository(std::function<void()> fails) {
  const auto hook = [fails = std::move(fails)](std::string_view, std::string_view, bool) { fails(); };
  const auto store = std::make_shared<HookedStore>(std::make_shared<MemoryStore>(), hook);
  Repository::init(*store, {});
  return Repository::open(store);
}

std::string request(std::string_view target, std::string_view fields = "", std::string_view method = "GET") {
  return fmt::format("{} {} HTTP/1.1\r\nHost: x\r\n{}\r\n", method, target, fields);
}

struct HttpUnderTest : ServerUnderTest {
  explicit HttpUnderTest(const Settings& settings = {}) : ServerUnderTest(settings) {
    catalog.snapshots_in_use = {kSnapshot};
    catalog.add("web@" + kSnapshot.hex(), image, true);
  }
  /// The image and the repository may be changed until the first of these calls.
  [[nodiscard]] std::string http_path() {
    const std::string path = folder / "http.sock";
    std::call_once(http_listening,
                   [&] { server->serve_http(std::move(open_listeners(UnixAddress{path}).front()), site); });
    return path;
  }
  [[nodiscard]] CommandResult curl(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"curl", "-sS", "--max-time", "20", "--unix-socket", http_path()});
    return run_command(arguments);
  }
  [[nodiscard]] std::string status(const std::string& url, std::vector<std::string> arguments = {}) {
    arguments.insert(arguments.end(), {"-o", folder / "ignored", "-w", "%{http_code}", "http://x" + url});
    return curl(arguments).out;
  }
  /// All that the server says to `sent` until it closes the connection.
  [[nodiscard]] std::string talk(std::string_view sent) {
    Client client(http_path());
    client.send(as_byte_view(sent));
    client.shut_down_send();
    return client.receive_rest();
  }
  [[nodiscard]] std::string first_line(std::string_view sent) {
    const std::string said = talk(sent);
    return said.substr(0, said.find('\r'));
  }
  [[nodiscard]] std::string text_of(std::uint64_t offset, std::uint64_t length) const {
    return std::string(as_text(content(offset, length)));
  }

  std::atomic<bool> store_is_down = false;
  std::shared_ptr<Repository> repository = make_repository([this] {
    if (store_is_down) throw Error(ErrorCode::kIo, "the network is down");
  });
  http::Site site{repository, std::make_shared<FrameCache>(kFrameCacheBytesMin)};
  std::once_flag http_listening;
};

/// Everything for the bearer of a token, and web:v1 for those on the unix socket.
Settings guarded(const TempDir& folder) {
  write_file(folder / "token", as_byte_view(kSecret));
  Settings settings;
  settings.tokens = {{"ci", folder / "token"}};
  settings.access = {{{"*"}, {"token:ci"}}, {{"web:v1"}, {"unix"}}};
  return settings;
}

std::string body_of(const std::string& said) { return said.substr(said.find("\r\n\r\n") + 4); }

}  // namespace

TEST_CASE("curl gets pages, several over one connection") {
  HttpUnderTest at;
  CHECK(at.curl({"http://x/healthz", "http://x/healthz"}).out == "ok\nok\n");
  CHECK(at.curl({"http://x/readyz"}).out == "ready\n");
  CHECK(at.curl({"http://x/in-use?x=1"}).out.find(kSnapshot.hex()) != std::string::npos);
  const std::string head = at.curl({"-I", "http://x/in-use"}).out;
  CHECK(head.find("200 OK") != std::string::npos);
  CHECK(head.find(kSnapshot.hex()) == std::string::npos);
  CHECK(at.status("/in-use", {"-d", "a body"}) == "405");
  CHECK(at.status("/in-use", {"-X", "GET", "-d", "a body"}) == "413");
  CHECK(at.status("/nothing") == "404");
  CHECK(at.status("/catalog.json") == "200");
  const std::string page = at.curl({"-i", "http://x/"}).out;
  CHECK(page.find("Content-Security-Policy: default-src 'none'") != std::string::npos);
}

TEST_CASE("a server is healthy without its repository, but not ready") {
  HttpUnderTest at;
  at.store_is_down = true;
  CHECK(at.status("/healthz") == "200");
  CHECK(at.status("/readyz") == "503");
  CHECK(at.status("/catalog.json") == "500");
  CHECK(at.stop_and_read_log().find("the network is down") != std::string::npos);
}

TEST_CASE("an image comes whole, in ranges, and again from where a copy broke off") {
  HttpUnderTest at;
  const std::string url = "http://x/images/web:v1";
  at.image->in_memory = [](std::uint64_t offset) { return offset / (512 * kKiB) % 2 == 0; };
  CHECK(at.curl({url}).out == at.text_of(0, at.image->size()));
  CHECK(at.curl({"-r", "100000-1700000", url}).out == at.text_of(100'000, 1'600'001));
  CHECK(at.curl({"-r", "-77", url}).out == at.text_of(at.image->size() - 77, 77));
  CHECK(at.status("/images/web:v1", {"-r", "5-6"}) == "206");
  CHECK(at.status("/images/web:v1", {"-r", "8388608-"}) == "416");
  write_file(at.folder / "part", at.content(0, 3 * kMiB + 1));
  CHECK(at.curl({"-C", "-", "-o", at.folder / "part", url}).exit_code == 0);
  CHECK(read_file(at.folder / "part") == at.image->content);
}

TEST_CASE("an image by digest may be kept for ever, and one by tag must be asked about") {
  HttpUnderTest at;
  const std::string by_tag = at.talk(request("/images/web:v1", "", "HEAD"));
  CHECK(by_tag.find("Cache-Control: public, no-cache\r\n") != std::string::npos);
  CHECK(by_tag.find("Content-Length: 8388608\r\n") != std::string::npos);
  CHECK(by_tag.find("Accept-Ranges: bytes\r\n") != std::string::npos);
  CHECK(body_of(by_tag).empty());
  const std::string fixed = "/images/web@" + kSnapshot.hex();
  const std::string by_digest = at.talk(request(fixed, "", "HEAD"));
  CHECK(by_digest.find("Cache-Control: public, max-age=31536000, immutable\r\n") != std::string::npos);
  const std::string etag = fmt::format("\"{}\"", SnapshotDigest().hex());
  CHECK(by_digest.find("ETag: " + etag + "\r\n") != std::string::npos);
  CHECK(at.first_line(request(fixed, "If-None-Match: " + etag + "\r\n")) == "HTTP/1.1 304 Not Modified");
}

TEST_CASE("requests for the same fixed image open it once for a connection") {
  HttpUnderTest at;
  std::string sent;
  for (int i = 0; i < 20; ++i)
    sent += request("/images/web@" + kSnapshot.hex(), fmt::format("Range: bytes={}-{}\r\n", i, i));
  const std::string said = at.talk(sent);
  CHECK(said.ends_with(at.text_of(19, 1)));
  CHECK(at.catalog.opened == 1);
}

TEST_CASE("requests that come together are answered in order") {
  HttpUnderTest at;
  const std::string said =
      at.talk(request("/images/web:v1", "Range: bytes=0-9\r\n") + request("/healthz", "", "HEAD") +
              request("/nothing") + request("/images/web:v1", "Range: bytes=10-19\r\n"));
  const auto first = said.find(at.text_of(0, 10));
  const auto missing = said.find("404 Not Found");
  CHECK(first != std::string::npos);
  CHECK(missing != std::string::npos);
  CHECK(first < missing);
  CHECK(said.ends_with(at.text_of(10, 10)));
}

TEST_CASE("whoever could be smuggling a request gets no answer to a second one") {
  HttpUnderTest at;
  for (const std::string& first :
       {request("/healthz", "Content-Length: 5\r\n"), request("/healthz", "Transfer-Encoding: chunked\r\n"),
        request("/healthz", "Content-Length: 0\r\nContent-Length: 5\r\n"), request("/healthz", "", "POST"),
        request("/healthz", "Transfer-Encoding: identity\r\nContent-Length: 5\r\n", "POST"),
        request("/", "Host: y\r\n"), request("/", "Expect: a miracle\r\n")}) {
    const std::string said = at.talk(first + request("/in-use"));
    CAPTURE(first);
    if (first.find("Content-Length") != std::string::npos || first.find("Transfer") != std::string::npos)
      CHECK(said.find(kSnapshot.hex()) == std::string::npos);
    CHECK(said.starts_with("HTTP/1.1 "));
  }
}

TEST_CASE("what is no HTTP, or too much of it, ends its connection and nothing else") {
  HttpUnderTest at;
  CHECK(at.first_line("\x01\x02 nonsense\r\n\r\n") == "HTTP/1.1 400 Bad Request");
  CHECK(at.first_line(request("/", "x: " + std::string(20'000, 'a') + "\r\n")) ==
        "HTTP/1.1 431 Request Header Fields Too Large");
  CHECK(at.first_line("GET /" + std::string(20'000, 'a')) == "HTTP/1.1 414 URI Too Long");
  CHECK(at.talk("GET / HTT").empty());
  CHECK(at.talk("").empty());
  CHECK(at.first_line("GET / HTTP/1.0\r\n\r\n") == "HTTP/1.1 200 OK");
  CHECK(at.curl({"http://x/healthz"}).out == "ok\n");
}

TEST_CASE("a read that fails is told, or breaks the connection: no wrong byte leaves") {
  HttpUnderTest at;
  at.image->before_read = [](std::uint64_t offset) {
    if (offset >= 4 * kMiB) throw Error(ErrorCode::kDamaged, "packs/ab/abc.pack is damaged");
  };
  CHECK(at.status("/images/web:v1", {"-r", "5000000-5000010"}) == "500");
  const auto broken = at.curl({"http://x/images/web:v1"});
  CHECK(broken.exit_code == 18);  // curl: the transfer ended before it was whole
  CHECK(broken.out == at.text_of(0, broken.out.size()));
  CHECK(broken.out.size() == 4 * kMiB);
  CHECK(at.metrics.traffic(Protocol::kHttp).failures == 2);
  CHECK(at.stop_and_read_log().find("packs/ab/abc.pack is damaged") != std::string::npos);
}

TEST_CASE("a client that sends no request, or reads no answer, is not waited for") {
  Settings settings;
  settings.limits.handshake = std::chrono::seconds(1);
  settings.limits.send_stall = std::chrono::seconds(1);
  HttpUnderTest at(settings);
  Client silent(at.http_path());
  silent.send(as_byte_view("GET"));
  Client deaf(at.http_path());
  deaf.send(as_byte_view(request("/images/web:v1")));
  CHECK(silent.receive_rest().empty());
  CHECK(ServerUnderTest::eventually([&] { return at.server->connections() == 0; }));
}

TEST_CASE("clients that vanish in the middle of an answer leave nothing behind") {
  HttpUnderTest at;
  for (int i = 0; i < 20; ++i) {
    Client client(at.http_path());
    client.send(as_byte_view(request("/images/web:v1")));
    static_cast<void>(client.receive(1000));
  }
  CHECK(ServerUnderTest::eventually([&] { return at.server->connections() == 0; }));
  CHECK(at.curl({"http://x/healthz"}).out == "ok\n");
}

TEST_CASE("files of the repository can be fetched by their keys, and nothing else of it") {
  HttpUnderTest at;
  Store& store = at.repository->store();
  const std::string digits(64, 'b');
  const Bytes pack = random_bytes(3, 700'000);
  store.put_if_absent("packs/bb/" + digits + ".pack", pack);
  store.put_if_absent("places/" + digits, as_byte_view("some places"));
  store.put_if_absent("refs/web/v1", as_byte_view("a reference"));
  store.put_if_absent("leases/" + digits, as_byte_view("a lease"));
  const std::string url = "/packs/bb/" + digits + ".pack";
  CHECK(at.curl({"http://x" + url}).out == as_text(pack));
  CHECK(at.curl({"-r", "600000-600009", "http://x" + url}).out ==
        as_text(ByteView(pack).subspan(600'000, 10)));
  const std::string head = at.curl({"-I", "http://x" + url}).out;
  CHECK(head.find("immutable") != std::string::npos);
  CHECK(head.find("ETag: \"" + digits + "\"") != std::string::npos);
  CHECK(at.curl({"-I", "http://x/places/" + digits}).out.find("Cache-Control: public, no-cache") !=
        std::string::npos);
  CHECK(at.curl({"http://x/places/" + digits}).out == "some places");
  for (const std::string other : {"/refs/web/v1", "/leases/bbbb", "/vmpack.json", "/places/", "/packs/"})
    CHECK(at.status(other) == "404");
  CHECK(at.status("/leases/" + digits) == "404");
  CHECK(at.status("/maps/bb/" + digits + ".map") == "404");
}

TEST_CASE("a client sees what the rules let it see, and is asked for a token otherwise") {
  const TempDir folder;
  HttpUnderTest at(guarded(folder));
  at.catalog.add("db:v1", at.image);
  const std::vector<std::string> bearer = {"-H", "Authorization: Bearer " + kSecret};
  CHECK(at.status("/images/web:v1", {"-r", "0-0"}) == "206");
  for (const std::string url : {"/images/db:v1", "/images/none:v1", "/metrics", "/connections.json",
                                "/status.json", "/catalog/db:v1.json"})
    CHECK(at.status(url) == "401");
  CHECK(at.status("/images/db:v1", {"-r", "0-0", bearer[0], bearer[1]}) == "206");
  CHECK(at.status("/images/db:v1", {"-r", "0-0", "-u", "any:" + kSecret}) == "206");
  CHECK(at.status("/images/none:v1", bearer) == "404");
  CHECK(at.status("/metrics", bearer) == "200");
  CHECK(at.status("/connections.json", bearer) == "200");
  CHECK(at.status("/images/db:v1", {"-H", "Authorization: Bearer wrong-wrong-wrong-wrong"}) == "401");
  CHECK(at.status("/healthz") == "200");
  CHECK(at.status("/in-use") == "200");
  const std::string fixed =
      at.talk(request("/images/web@" + kSnapshot.hex(), "Authorization: Bearer " + kSecret + "\r\n", "HEAD"));
  CHECK(fixed.find("Cache-Control: private, max-age") != std::string::npos);
  CHECK(at.stop_and_read_log().find(kSecret) == std::string::npos);
}

TEST_CASE("without a right to all, and without tokens, what is not allowed is not there") {
  Settings settings;
  settings.access = {{{"web:v1"}, {"*"}}};
  HttpUnderTest at(settings);
  CHECK(at.status("/images/web:v1", {"-r", "0-0"}) == "206");
  CHECK(at.status("/images/web@" + kSnapshot.hex()) == "404");
  CHECK(at.status("/metrics") == "403");
  CHECK(at.status("/catalog.json") == "200");
}

TEST_CASE("metrics and connections tell of both protocols while they are busy") {
  HttpUnderTest at;
  Client nbd = at.connect();
  REQUIRE(nbd.open("web:v1", true));
  nbd.request(nbd::Command::kRead, 1, 0, 4096);
  static_cast<void>(nbd.next_reply());
  const std::string text = at.curl({"http://x/metrics"}).out;
  CHECK(text.find("vmserve_connections{protocol=\"nbd\"} 1\n") != std::string::npos);
  CHECK(text.find("vmserve_requests_total{protocol=\"nbd\"} 1\n") != std::string::npos);
  CHECK(text.find("vmserve_reference_requests_total{reference=\"web:v1\"} 1\n") != std::string::npos);
  const std::string connections = at.curl({"http://x/connections.json"}).out;
  CHECK(connections.find(R"("protocol":"nbd")") != std::string::npos);
  CHECK(connections.find(R"("reference":"web:v1")") != std::string::npos);
}

TEST_CASE("a server that stops says so to whoever asks, and lets nobody begin anything") {
  HttpUnderTest at;
  Client idle(at.http_path());
  idle.send(as_byte_view(request("/healthz")));
  static_cast<void>(idle.receive(20));
  Client nbd = at.connect();
  REQUIRE(nbd.open("web:v1", true));
  Gate gate;
  at.image->before_read = [&](std::uint64_t) { gate.wait(); };
  nbd.request(nbd::Command::kRead, 1, 0, 4096);
  at.server->begin_stop();
  CHECK(idle.receive_rest().ends_with("ok\n"));
  CHECK(at.status("/readyz") == "503");
  CHECK(at.status("/images/web:v1") == "503");
  CHECK(at.status("/healthz") == "200");
  gate.open();
  at.server->finish_stop();
}

}  // namespace vmpack::test
