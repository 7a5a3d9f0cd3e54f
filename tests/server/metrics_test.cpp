// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "libvmpack/base/error.hpp"
#include "server/metered_store.hpp"
#include "server/metrics.hpp"
#include "server/reference_counts.hpp"
#include "tests/support/memory_store.hpp"

namespace vmpack {
namespace {

bool has_line(const std::string& text, const std::string& line) {
  return text.find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("the reference that was quiet for longest gives up its figures, and nothing is lost") {
  ReferenceCounts counts(2);
  counts.add({"a", {1, 10, 0}});
  counts.add({"b", {1, 20, 0}});
  counts.add({"a", {1, 10, 0}});
  counts.add({"c", {1, 40, 0}});
  const auto counted = counts.counted();
  REQUIRE(counted.size() == 2);
  CHECK(counted[0].reference == "c");
  CHECK(counted[1].reference == "a");
  CHECK(counted[1].traffic == Traffic{2, 20, 0});
  CHECK(counts.others() == Traffic{1, 20, 0});
}

TEST_CASE("metrics tell what was counted") {
  ServerMetrics metrics;
  metrics.count_connection(Protocol::kNbd);
  metrics.count_traffic(Protocol::kNbd, {"web:v1", {3, 4096, 1}});
  metrics.count_traffic(Protocol::kHttp, {"", {1, 2, 0}});
  metrics.count_damage();
  metrics.count_refused_connection();
  const std::string text = metrics.text({.cache = {.hits = 5}, .nbd_connections = 7});
  CHECK(has_line(text, R"(vmserve_connections_total{protocol="nbd"} 1)"));
  CHECK(has_line(text, R"(vmserve_connections{protocol="nbd"} 7)"));
  CHECK(has_line(text, R"(vmserve_requests_total{protocol="nbd"} 3)"));
  CHECK(has_line(text, R"(vmserve_sent_bytes_total{protocol="http"} 2)"));
  CHECK(has_line(text, R"(vmserve_failures_total{protocol="nbd"} 1)"));
  CHECK(has_line(text, R"(vmserve_reference_sent_bytes_total{reference="web:v1"} 4096)"));
  CHECK(has_line(text, R"(vmserve_reference_sent_bytes_total{reference="other"} 0)"));
  CHECK(has_line(text, "vmserve_cache_hits_total 5"));
  CHECK(has_line(text, "vmserve_damage_total 1"));
  CHECK(has_line(text, "vmserve_connections_refused_total 1"));
}

TEST_CASE("no number of references makes the metrics longer than they may be") {
  ServerMetrics metrics;
  for (int i = 0; i < 1000; ++i) metrics.count_traffic(Protocol::kNbd, {fmt::format("r:{}", i), {1, 1, 0}});
  CHECK(metrics.references().size() == kReferencesCounted);
  CHECK(has_line(metrics.text({}), R"(vmserve_reference_requests_total{reference="other"} 900)"));
}

TEST_CASE("a store's answers are timed, and its failures counted") {
  ServerMetrics metrics;
  const auto store = meter_store(std::make_unique<test::MemoryStore>(), metrics);
  store->put_if_absent("a", as_byte_view("12345"));
  CHECK(store->get("a", 100, nullptr).size() == 5);
  Bytes some(2);
  store->get_range("a", 1, some);
  CHECK(store->stat("a").has_value());
  CHECK_THROWS_AS(store->get("b", 100, nullptr), Error);
  const std::string text = metrics.text({});
  CHECK(has_line(text, R"(vmserve_store_seconds_count{operation="get"} 2)"));
  CHECK(has_line(text, R"(vmserve_store_seconds_count{operation="get_range"} 1)"));
  CHECK(has_line(text, R"(vmserve_store_failures_total{operation="get"} 1)"));
  CHECK(has_line(text, "vmserve_store_read_bytes_total 7"));
}

}  // namespace vmpack
