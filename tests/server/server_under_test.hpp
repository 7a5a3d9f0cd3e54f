// SPDX-License-Identifier: Apache-2.0
// A real server on a unix socket, with one image in memory behind it.
#pragma once

#include <spdlog/logger.h>
#include <spdlog/sinks/ostream_sink.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>

#include "server/listener.hpp"
#include "server/metrics.hpp"
#include "server/server.hpp"
#include "tests/server/client.hpp"
#include "tests/server/fake_exports.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack::test {

struct ServerUnderTest {
  explicit ServerUnderTest(const ServerLimits& limits = {}, std::size_t image_bytes = 8 * kMiB)
      : ServerUnderTest(Settings{.limits = limits}, image_bytes) {}
  explicit ServerUnderTest(const Settings& settings, std::size_t image_bytes = 8 * kMiB)
      : image(std::make_shared<FakeImage>(image_bytes, std::vector<ByteRange>{{1 * kMiB, 2 * kMiB}})) {
    catalog.add("web:v1", image);
    server = std::make_unique<Server>(catalog, metrics, make_policy(settings), ServerThreads{2, 4}, log);
  }

  [[nodiscard]] std::string path() const { return folder / "nbd.sock"; }
  /// A new client. With the first one the server begins to listen: until then the image may be changed. Any
  /// thread.
  [[nodiscard]] Client connect() {
    std::call_once(listening, [&] {
      auto listeners = open_listeners(UnixAddress{path()});
      server->serve_nbd(std::move(listeners.front()));
    });
    return Client(path());
  }
  [[nodiscard]] Bytes content(std::uint64_t offset, std::uint64_t length) const {
    const ByteView view = ByteView(image->content).subspan(offset, length);
    return {view.begin(), view.end()};
  }
  /// Waits up to a minute.
  template <typename Condition>
  [[nodiscard]] static bool eventually(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }
  /// Valid when the server has stopped: the log is written by its threads.
  [[nodiscard]] std::string stop_and_read_log() {
    server->begin_stop();
    server->finish_stop();
    return log_text.str();
  }

  TempDir folder;
  std::shared_ptr<FakeImage> image;
  FakeCatalog catalog;
  ServerMetrics metrics;
  std::ostringstream log_text;
  spdlog::logger log{"test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_text)};
  std::unique_ptr<Server> server;
  std::once_flag listening;
};

/// Holds up readers of an image until it is opened.
class Gate {
 public:
  void wait() { open_.wait(false); }
  void open() {
    open_ = true;
    open_.notify_all();
  }

 private:
  std::atomic<bool> open_ = false;
};

}  // namespace vmpack::test
