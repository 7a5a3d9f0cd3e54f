// SPDX-License-Identifier: Apache-2.0
// What the server counts, for Prometheus and for people. Nothing here is touched once for each request:
// connections count for themselves, and tell about once a second what has come to it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/read/frame_cache.hpp"
#include "libvmpack/store/disk_cache.hpp"
#include "server/traffic.hpp"

namespace vmpack {

/// References with figures of their own; all others together are "other".
inline constexpr std::size_t kReferencesCounted = 100;

enum class StoreOperation { kGetRange, kGet, kStat, kList };

/// What is looked at when somebody asks, instead of being counted.
struct MetricsNow {
  FrameCache::Statistics cache;
  std::optional<DiskCache::Statistics> disk_cache;  ///< where there is one
  std::uint64_t nbd_connections = 0;
  std::uint64_t http_connections = 0;
  bool stopping = false;
};

/// Every method may be called from any thread.
class ServerMetrics {
 public:
  ServerMetrics();
  ~ServerMetrics();
  ServerMetrics(const ServerMetrics&) = delete;
  ServerMetrics& operator=(const ServerMetrics&) = delete;

  void count_connection(Protocol protocol);
  void count_refused_connection();
  /// What came to the traffic of a connection since it was told last.
  void count_traffic(Protocol protocol, const ReferenceTraffic& more);
  /// Stored bytes were found to be damaged.
  void count_damage();
  void count_store(StoreOperation operation, std::chrono::duration<double> time, std::uint64_t bytes,
                   bool failed);

  [[nodiscard]] Traffic traffic(Protocol protocol) const;
  [[nodiscard]] std::uint64_t damage() const;
  /// Those with figures of their own, the most bytes first.
  [[nodiscard]] std::vector<ReferenceTraffic> references() const;
  /// Since this object was made.
  [[nodiscard]] std::chrono::seconds uptime() const;

  /// In Prometheus' text format.
  [[nodiscard]] std::string text(const MetricsNow& now) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vmpack
