// SPDX-License-Identifier: Apache-2.0
// Everything that an HTTP client can send: to the parser alone, and to a whole connection.
#include "server/http/session.hpp"
#include "tests/server/connection_fuzz.hpp"
#include "tests/support/fuzz.hpp"
#include "tests/support/memory_store.hpp"

namespace vmpack {
namespace {

std::shared_ptr<Repository> make_repository() {
  auto store = std::make_shared<test::MemoryStore>();
  Repository::init(*store, {});
  const std::string digits(64, 'b');
  store->put_if_absent("packs/bb/" + digits + ".pack", test::random_bytes(1, 300'000));
  store->put_if_absent("places/" + digits, test::random_bytes(2, 1000));
  return Repository::open(store);
}

struct World : test::FuzzWorld {
  World() : FuzzWorld({.access = {{{"web:*"}, {"*"}}, {{"*"}, {"unix"}}}}) {}
  http::Site site{make_repository(), std::make_shared<FrameCache>(kFrameCacheBytesMin)};
};

/// What holds for any input, however little of it is HTTP.
void check_parser(std::string_view input) {
  const auto result = http::parse_request(input);
  if (std::holds_alternative<http::Incomplete>(result)) VMPACK_ASSERT(input.size() < http::kHeaderBytesMax);
  const auto* parsed = std::get_if<http::ParsedRequest>(&result);
  if (parsed == nullptr) return;
  VMPACK_ASSERT(parsed->bytes > 0 && parsed->bytes <= input.size());
  const auto target = http::find_target(parsed->request.path);
  VMPACK_ASSERT(target.kind != http::Kind::kStored || http::is_stored_key(target.name));
  for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1000}, UINT64_MAX}) {
    const auto plan = http::plan_body(parsed->request, {"\"e\"", "a date"}, bytes);
    VMPACK_ASSERT(plan.range.offset <= bytes && plan.range.length <= bytes - plan.range.offset);
  }
}

std::string request(std::string_view target, std::string_view fields = "", std::string_view method = "GET") {
  std::string text(method);
  text.append(" ").append(target).append(" HTTP/1.1\r\nHost: x\r\n").append(fields).append("\r\n");
  return text;
}

}  // namespace

namespace test {

std::vector<Bytes> fuzz_seeds() {
  const std::string digits(64, 'b');
  std::string ranges;
  for (const std::string_view range :
       {"bytes=0-99", "bytes=7-", "bytes=-5", "bytes=262143-600000", "bytes=1-2,4-5"})
    ranges += request("/images/web@abcd", "Range: " + std::string(range) + "\r\n");
  std::string pages;
  for (const std::string_view page : {"/", "/healthz", "/readyz", "/metrics", "/in-use", "/connections.json",
                                      "/status.json", "/catalog.json", "/catalog/web:v1.json", "/nothing"})
    pages += request(page, "If-None-Match: \"e\", W/\"f\"\r\n");
  const std::vector<std::string> seeds = {
      ranges,
      pages,
      request("/images/web:v1") + request("/images/web%3Av1", "", "HEAD"),
      request("/packs/bb/" + digits + ".pack", "Range: bytes=5-\r\n") + request("/places/" + digits),
      request("/images/broken:v1") + request("/images/none", "Authorization: Basic dXNlcjpwYTpzcw==\r\n"),
      request("/healthz", "Content-Length: 5\r\nExpect: 100-continue\r\n", "POST") + "12345",
      request("/healthz", "Transfer-Encoding: chunked\r\n") + "5\r\n12345\r\n0\r\n\r\n",
      "GET http://x/healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
  };
  std::vector<Bytes> bytes;
  for (const std::string& seed : seeds) {
    const ByteView view = as_byte_view(seed);
    bytes.emplace_back(view.begin(), view.end());
  }
  return bytes;
}

}  // namespace test
}  // namespace vmpack

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static vmpack::World world;
  const auto input = std::as_bytes(std::span(data, size));
  vmpack::check_parser(vmpack::as_text(input));
  vmpack::test::run_connection(world, input, [](vmpack::Socket socket) {
    return std::make_shared<vmpack::http::Session>(std::move(socket), world.context, world.site,
                                                   vmpack::Client{.peer = "fuzz", .local = true});
  });
  return 0;
}
