// SPDX-License-Identifier: Apache-2.0
// vmserve: serves the images of a repository over the network. Wires the parts together, and waits for the
// signal to stop.
#include <fmt/format.h>
#include <pthread.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <thread>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/read/frame_cache.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/store/store.hpp"
#include "server/http/site.hpp"
#include "server/listener.hpp"
#include "server/metered_store.hpp"
#include "server/metrics.hpp"
#include "server/options.hpp"
#include "server/policy.hpp"
#include "server/repository_exports.hpp"
#include "server/server.hpp"

namespace {

using namespace vmpack;

enum ExitCode { kDone = 0, kFailed = 1, kWrongUsage = 2 };

constexpr std::chrono::milliseconds kStopPoll{20};

/// SIGTERM and SIGINT, blocked in every thread: this one waits for them.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    std::signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c): it cannot fail
  }
  void wait() const {
    int received = 0;
    sigwait(&set_, &received);
  }
  [[nodiscard]] bool arrives_within(std::chrono::milliseconds time) const {
    const timespec wait{0, std::chrono::nanoseconds(time).count()};
    return sigtimedwait(&set_, nullptr, &wait) > 0;
  }

 private:
  sigset_t set_{};
};

/// A file that is there while clients may connect.
class ReadyFile {
 public:
  ReadyFile(std::string path, const std::vector<std::string>& uris) : path_(std::move(path)) {
    if (path_.empty()) return;
    const std::string temporary = path_ + ".new";
    std::ofstream file(temporary);
    for (const auto& uri : uris) file << uri << '\n';
    file.close();
    if (!file || std::rename(temporary.c_str(), path_.c_str()) != 0)
      throw system_error(errno, "cannot write", path_);
  }
  ~ReadyFile() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove(path_, ignored);
  }
  ReadyFile(const ReadyFile&) = delete;
  ReadyFile& operator=(const ReadyFile&) = delete;

 private:
  std::string path_;
};

spdlog::logger make_log(const std::string& level) {
  spdlog::logger log("vmserve", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  log.set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
  log.set_level(spdlog::level::from_str(level));
  return log;
}

/// One connection is one descriptor, and some systems start programs with a limit of 1024.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

std::vector<Listener> open_all(const std::vector<ListenAddress>& addresses) {
  std::vector<Listener> listeners;
  for (const auto& address : addresses) {
    for (Listener& listener : open_listeners(address)) listeners.push_back(std::move(listener));
  }
  return listeners;
}

std::vector<ListenAddress> default_nbd_addresses() { return {TcpAddress{"127.0.0.1", "10809"}}; }

/// Opens all before any client is served.
std::vector<std::string> listen(Server& server, http::Site& site, const Settings& settings) {
  std::vector<Listener> nbd = open_all(settings.nbd.empty() ? default_nbd_addresses() : settings.nbd);
  std::vector<Listener> http = open_all(settings.http);
  std::vector<std::string> uris;
  for (Listener& listener : nbd) {
    uris.push_back(nbd_uri(listener));
    server.serve_nbd(std::move(listener));
  }
  for (Listener& listener : http) {
    uris.push_back(http_uri(listener));
    server.serve_http(std::move(listener), site);
  }
  return uris;
}

void stop(Server& server, std::chrono::seconds drain, const StopSignals& signals, spdlog::logger& log) {
  log.info("stopping: {} connections are open", server.connections());
  server.begin_stop();
  const auto deadline = std::chrono::steady_clock::now() + drain;
  while (server.connections() > 0 && std::chrono::steady_clock::now() < deadline) {
    if (signals.arrives_within(kStopPoll)) break;
  }
  if (server.connections() > 0) log.warn("{} connections did not end in time", server.connections());
  server.finish_stop();
  log.info("stopped");
}

void run(const Settings& settings) {
  const StopSignals signals;
  spdlog::logger log = make_log(settings.log_level);
  raise_descriptor_limit();
  ServerMetrics metrics;
  const std::shared_ptr<const Repository> repository =
      Repository::open(meter_store(open_store(settings.repository), metrics));
  const auto cache = std::make_shared<FrameCache>(settings.cache.memory_bytes);
  RepositoryExports exports(repository, cache, metrics);
  http::Site site(repository, cache);
  const unsigned workers = std::max(4U, 2 * std::thread::hardware_concurrency());
  Server server(exports, metrics, make_policy(settings),
                {static_cast<unsigned>(settings.threads), workers}, log);
  const auto uris = listen(server, site, settings);
  log.info("serving {} with {} of cache", repository->store().location(),
           format_bytes(settings.cache.memory_bytes));
  for (const auto& uri : uris) log.info("listening on {}", uri);
  const ReadyFile ready(settings.ready_file, uris);
  signals.wait();
  stop(server, settings.drain, signals, log);
}

}  // namespace

int main(int argc, char** argv) {
  const auto [settings, exit_code] = parse_options(argc, argv, std::cout, std::cerr);
  if (!settings) return exit_code;
  try {
    run(*settings);
    return kDone;
  } catch (const Error& error) {
    print_error(std::cerr, error.what(), error.hint());
    return error.code() == ErrorCode::kInvalid ? kWrongUsage : kFailed;
  } catch (const std::exception& error) {
    print_error(std::cerr, error.what(), {});
    return kFailed;
  }
}
