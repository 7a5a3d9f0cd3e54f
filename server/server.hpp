// SPDX-License-Identifier: Apache-2.0
// The network threads, the workers, and the connections on them. What is served comes from the catalog.
#pragma once

#include <chrono>
#include <memory>

#include "server/export.hpp"
#include "server/listener.hpp"
#include "server/policy.hpp"

namespace spdlog {
class logger;
}

namespace vmpack::http {
struct Site;
}

namespace vmpack {

class ServerMetrics;

struct ServerThreads {
  unsigned network = 1;
  unsigned workers = 4;
};

/// Methods are for one thread, the one that made the server, unless they say otherwise. `catalog`,
/// `metrics` and `log` must outlive it.
class Server {
 public:
  /// Starts the threads; they inherit the caller's signal mask.
  Server(ExportCatalog& catalog, ServerMetrics& metrics, PolicyPtr policy, ServerThreads threads,
         spdlog::logger& log);
  /// As finish_stop().
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Accepts NBD clients on `listener` from now on.
  void serve_nbd(Listener listener);
  /// The same for HTTP clients, who see `site` besides; it must outlive the server.
  void serve_http(Listener listener, http::Site& site);

  /// For connections that begin from now on. What all of them may have in flight stays as it was. Any thread.
  void set_policy(PolicyPtr policy);

  [[nodiscard]] std::size_t connections() const;
  /// How long ago the network thread that is furthest behind came round; all do about once a second.
  [[nodiscard]] std::chrono::steady_clock::duration longest_silence() const;

  /// Stops taking requests. Connections end by themselves when what is under way is answered. NBD clients
  /// cannot connect any more; over HTTP whoever asks is told that the server stops.
  void begin_stop();
  /// Closes what is still open, and ends the threads. Waits for workers that are inside the store.
  void finish_stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vmpack
