// SPDX-License-Identifier: Apache-2.0
// What every connection of a server shares. Whoever owns these outlives all connections.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <vector>

#include "server/budget.hpp"
#include "server/export.hpp"
#include "server/metrics.hpp"
#include "server/policy.hpp"
#include "server/traffic.hpp"

namespace spdlog {
class logger;
}

namespace vmpack {

struct ServerContext {
  ExportCatalog& catalog;
  ServerMetrics& metrics;
  boost::asio::thread_pool& workers;  ///< for everything that may block
  Budget& budget;
  CurrentPolicy& current_policy;
  spdlog::logger& log;
  /// Asks every network thread for its connections, and has them tell the metrics what they carried.
  std::function<boost::asio::awaitable<std::vector<ConnectionFacts>>()> survey;

  [[nodiscard]] PolicyPtr policy() const { return current_policy.get(); }
};

}  // namespace vmpack
