// SPDX-License-Identifier: Apache-2.0
#include "server/metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <mutex>
#include <sstream>
#include <utility>

#include "server/reference_counts.hpp"

namespace vmpack {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

constexpr std::array kProtocols = {Protocol::kNbd, Protocol::kHttp};
constexpr std::array<std::string_view, 4> kOperations = {"get_range", "get", "stat", "list"};
const std::vector<double> kStoreSeconds = {0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01,
                                           0.03,    0.1,    0.3,    1,     3,     10};

/// A family whose values are taken from elsewhere when somebody asks.
MetricFamily family(std::string name, std::string help, MetricType type) {
  return {std::move(name), std::move(help), type, {}};
}

void add(MetricFamily& to, std::uint64_t value, Labels labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.counter.value = metric.gauge.value = static_cast<double>(value);
  to.metric.push_back(std::move(metric));
}

MetricFamily single(std::string name, std::string help, MetricType type, std::uint64_t value) {
  MetricFamily made = family(std::move(name), std::move(help), type);
  add(made, value);
  return made;
}

}  // namespace

struct ServerMetrics::State {
  struct OfProtocol {
    std::uint64_t connections = 0;
    Traffic traffic;
  };
  struct OfOperation {
    prometheus::Histogram* seconds = nullptr;
    prometheus::Counter* failures = nullptr;
  };

  State() {
    auto& seconds = prometheus::BuildHistogram()
                        .Name("vmserve_store_seconds")
                        .Help("How long the store took to answer.")
                        .Register(registry);
    auto& failures = prometheus::BuildCounter()
                         .Name("vmserve_store_failures_total")
                         .Help("Operations of the store that failed, missing keys among them.")
                         .Register(registry);
    for (std::size_t i = 0; i < kOperations.size(); ++i) {
      const prometheus::Labels labels = {{"operation", std::string(kOperations.at(i))}};
      operations.at(i) = {&seconds.Add(labels, kStoreSeconds), &failures.Add(labels)};
    }
    store_bytes = &prometheus::BuildCounter()
                       .Name("vmserve_store_read_bytes_total")
                       .Help("Bytes read from the store.")
                       .Register(registry)
                       .Add({});
    damage = &prometheus::BuildCounter()
                  .Name("vmserve_damage_total")
                  .Help("Reads that met damaged stored bytes.")
                  .Register(registry)
                  .Add({});
    refused = &prometheus::BuildCounter()
                   .Name("vmserve_connections_refused_total")
                   .Help("Connections refused because too many were open.")
                   .Register(registry)
                   .Add({});
  }

  OfProtocol& of(Protocol protocol) { return protocols.at(static_cast<std::size_t>(protocol)); }

  /// Caller holds the mutex.
  void append_protocols(std::vector<MetricFamily>& families) {
    MetricFamily connections =
        family("vmserve_connections_total", "Connections accepted.", MetricType::Counter);
    MetricFamily requests = family("vmserve_requests_total", "Requests received.", MetricType::Counter);
    MetricFamily bytes =
        family("vmserve_sent_bytes_total", "Bytes sent in answers to requests.", MetricType::Counter);
    MetricFamily failures = family("vmserve_failures_total",
                                   "Requests that ended in an error of the server's.", MetricType::Counter);
    for (const Protocol protocol : kProtocols) {
      const OfProtocol& counted = of(protocol);
      const Labels labels = {{"protocol", std::string(to_string(protocol))}};
      add(connections, counted.connections, labels);
      add(requests, counted.traffic.requests, labels);
      add(bytes, counted.traffic.bytes_sent, labels);
      add(failures, counted.traffic.failures, labels);
    }
    for (MetricFamily* made : {&connections, &requests, &bytes, &failures})
      families.push_back(std::move(*made));
  }

  /// Caller holds the mutex.
  void append_references(std::vector<MetricFamily>& families) {
    MetricFamily requests = family("vmserve_reference_requests_total",
                                   "Requests by reference, of those seen last.", MetricType::Counter);
    MetricFamily bytes = family("vmserve_reference_sent_bytes_total",
                                "Bytes sent by reference, of those seen last.", MetricType::Counter);
    const auto add_one = [&](const std::string& name, const Traffic& traffic) {
      add(requests, traffic.requests, {{"reference", name}});
      add(bytes, traffic.bytes_sent, {{"reference", name}});
    };
    for (const auto& [reference, traffic] : references.counted()) add_one(reference, traffic);
    add_one("other", references.others());
    families.push_back(std::move(requests));
    families.push_back(std::move(bytes));
  }

  prometheus::Registry registry;
  std::array<OfOperation, kOperations.size()> operations;
  prometheus::Counter* store_bytes = nullptr;
  prometheus::Counter* damage = nullptr;
  prometheus::Counter* refused = nullptr;
  const std::chrono::steady_clock::time_point began = std::chrono::steady_clock::now();
  const std::chrono::system_clock::time_point began_at = std::chrono::system_clock::now();

  std::mutex mutex;
  std::array<OfProtocol, kProtocols.size()> protocols;  // guarded by mutex, as what follows
  ReferenceCounts references{kReferencesCounted};
};

namespace {

void append_now(std::vector<MetricFamily>& families, const MetricsNow& now) {
  MetricFamily open = family("vmserve_connections", "Connections that are open.", MetricType::Gauge);
  add(open, now.nbd_connections, {{"protocol", "nbd"}});
  add(open, now.http_connections, {{"protocol", "http"}});
  families.push_back(std::move(open));
  const auto counter = [&](const char* name, const char* help, std::uint64_t value) {
    families.push_back(single(name, help, MetricType::Counter, value));
  };
  const auto gauge = [&](const char* name, const char* help, std::uint64_t value) {
    families.push_back(single(name, help, MetricType::Gauge, value));
  };
  counter("vmserve_cache_hits_total", "Frames found in memory.", now.cache.hits);
  counter("vmserve_cache_misses_total", "Frames that had to be loaded.", now.cache.misses);
  counter("vmserve_cache_evictions_total", "Frames that had to make room for others.", now.cache.evictions);
  gauge("vmserve_cache_bytes", "Memory that cached frames take.", now.cache.bytes);
  gauge("vmserve_cache_limit_bytes", "Memory that cached frames may take.", now.cache.bytes_max);
  if (now.disk_cache) {
    counter("vmserve_disk_cache_hits_total", "Reads of the store that the disk cache answered.",
            now.disk_cache->hits);
    counter("vmserve_disk_cache_misses_total", "Reads that went to the store.", now.disk_cache->misses);
    counter("vmserve_disk_cache_damaged_total", "Copies that were not what was written.",
            now.disk_cache->damaged);
    counter("vmserve_disk_cache_failed_writes_total", "Copies that could not be kept.",
            now.disk_cache->failed_writes);
    gauge("vmserve_disk_cache_bytes", "Space that the disk cache takes.", now.disk_cache->bytes);
    gauge("vmserve_disk_cache_limit_bytes", "Space that it may take.", now.disk_cache->bytes_max);
  }
  gauge("vmserve_stopping", "1 while the server waits for its last connections to end.",
        now.stopping ? 1 : 0);
}

}  // namespace

ServerMetrics::ServerMetrics() : state_(std::make_unique<State>()) {}
ServerMetrics::~ServerMetrics() = default;

void ServerMetrics::count_connection(Protocol protocol) {
  const std::scoped_lock lock(state_->mutex);
  ++state_->of(protocol).connections;
}

void ServerMetrics::count_refused_connection() { state_->refused->Increment(); }

void ServerMetrics::count_traffic(Protocol protocol, const ReferenceTraffic& more) {
  if (more.traffic == Traffic{}) return;
  const std::scoped_lock lock(state_->mutex);
  state_->of(protocol).traffic += more.traffic;
  if (!more.reference.empty()) state_->references.add(more);
}

void ServerMetrics::count_damage() { state_->damage->Increment(); }

void ServerMetrics::count_store(StoreOperation operation, std::chrono::duration<double> time,
                                std::uint64_t bytes, bool failed) {
  const auto& counted = state_->operations.at(static_cast<std::size_t>(operation));
  counted.seconds->Observe(time.count());
  if (failed) counted.failures->Increment();
  if (bytes > 0) state_->store_bytes->Increment(static_cast<double>(bytes));
}

Traffic ServerMetrics::traffic(Protocol protocol) const {
  const std::scoped_lock lock(state_->mutex);
  return state_->of(protocol).traffic;
}

std::uint64_t ServerMetrics::damage() const { return static_cast<std::uint64_t>(state_->damage->Value()); }

std::vector<ReferenceTraffic> ServerMetrics::references() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->references.counted();
}

std::chrono::seconds ServerMetrics::uptime() const {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - state_->began);
}

std::string ServerMetrics::text(const MetricsNow& now) const {
  std::vector<MetricFamily> families = state_->registry.Collect();
  {
    const std::scoped_lock lock(state_->mutex);
    state_->append_protocols(families);
    state_->append_references(families);
  }
  append_now(families, now);
  const auto began = std::chrono::duration_cast<std::chrono::seconds>(state_->began_at.time_since_epoch());
  families.push_back(single("vmserve_start_time_seconds", "When the server started, since 1970.",
                            MetricType::Gauge, static_cast<std::uint64_t>(began.count())));
  MetricFamily info = family("vmserve_info", "Always 1; the label tells the version.", MetricType::Gauge);
  add(info, 1, {{"version", VMPACK_VERSION}});
  families.push_back(std::move(info));
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return std::move(out).str();
}

}  // namespace vmpack
