// SPDX-License-Identifier: Apache-2.0
// What every connection of a server shares. Whoever owns these outlives all connections.
#pragma once

#include <boost/asio/thread_pool.hpp>

#include "server/budget.hpp"
#include "server/export.hpp"
#include "server/policy.hpp"

namespace spdlog {
class logger;
}

namespace vmpack {

struct ServerContext {
  ExportCatalog& catalog;
  boost::asio::thread_pool& workers;  ///< for everything that may block
  Budget& budget;
  CurrentPolicy& current_policy;
  spdlog::logger& log;

  [[nodiscard]] PolicyPtr policy() const { return current_policy.get(); }
};

}  // namespace vmpack
