// SPDX-License-Identifier: Apache-2.0
#include "server/daemon/daemon.hpp"

#include <fmt/format.h>
#include <spdlog/logger.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/read/frame_cache.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/store/near_store.hpp"
#include "libvmpack/store/store.hpp"
#include "server/config/setting.hpp"
#include "server/daemon/activated_sockets.hpp"
#include "server/daemon/descriptors.hpp"
#include "server/daemon/log.hpp"
#include "server/daemon/notifier.hpp"
#include "server/daemon/ready_file.hpp"
#include "server/daemon/sandbox.hpp"
#include "server/daemon/signals.hpp"
#include "server/http/site.hpp"
#include "server/metered_store.hpp"
#include "server/metrics.hpp"
#include "server/policy.hpp"
#include "server/repository_exports.hpp"
#include "server/server.hpp"

namespace vmpack {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr milliseconds kStopPoll{20};
constexpr seconds kTick{5};
/// A network thread turns about once a second; one that has not for so long is stuck.
constexpr seconds kSilenceMin{5};

void open_all(const std::vector<ListenAddress>& addresses, std::vector<Listener>& into) {
  for (const auto& address : addresses) {
    for (Listener& listener : open_listeners(address)) into.push_back(std::move(listener));
  }
}

/// What the service manager hands over, and what the settings name beside it.
ActivatedSockets open_sockets(const Settings& settings) {
  ActivatedSockets sockets = take_activated_sockets();
  const bool activated = !sockets.nbd.empty() || !sockets.http.empty();
  const bool wants_default = settings.nbd.empty() && !activated;
  open_all(wants_default ? std::vector<ListenAddress>{TcpAddress{"127.0.0.1", "10809"}} : settings.nbd,
           sockets.nbd);
  open_all(settings.http, sockets.http);
  return sockets;
}

std::string folder_of(const std::string& path) {
  return std::filesystem::absolute(path).parent_path().string();
}

bool is_local(const std::string& repository) {
  return repository.find("://") == std::string::npos || repository.starts_with("file://");
}

SandboxNeeds sandbox_needs(const Settings& settings, const ActivatedSockets& sockets) {
  SandboxNeeds needs;
  if (!settings.cache.disk_folder.empty()) {
    std::filesystem::create_directories(settings.cache.disk_folder);
    needs.writable_folders.push_back(settings.cache.disk_folder);
  }
  for (const auto* listeners : {&sockets.nbd, &sockets.http}) {
    for (const Listener& listener : *listeners) {
      if (!listener.path().empty()) needs.removable_folders.push_back(folder_of(listener.path()));
    }
  }
  if (!settings.ready_file.empty()) needs.ready_folder = folder_of(settings.ready_file);
  needs.network = !is_local(settings.repository);
  return needs;
}

/// The names of what only a restart can change, and is no longer the same.
std::string changes_for_a_restart(const Settings& before, const Settings& after) {
  std::string names;
  for (const auto table : {config::settings_table(), config::limits_table()}) {
    for (const config::Setting& setting : table) {
      if (setting.change == config::Change::kReload) continue;
      if (config::texts_of(setting, before) == config::texts_of(setting, after)) continue;
      names += fmt::format("{}{}", names.empty() ? "" : ", ", setting.name);
    }
  }
  return names;
}

class Daemon {
 public:
  Daemon(const Settings& settings, const std::function<Settings()>& reread)
      : started_(settings),
        settings_(settings),
        reread_(reread),
        log_(make_log(settings.log_format, settings.log_level)) {}

  void run() {
    fit_connections();
    ActivatedSockets sockets = open_sockets(settings_);
    const SandboxNeeds needs = sandbox_needs(settings_, sockets);
    const bool files_restricted = sandboxed() && restrict_files(needs);
    PolicyPtr policy = make_policy(settings_);  // its files may be for root's eyes only
    if (!settings_.user.empty()) become_user(settings_.user);
    start(std::move(policy));
    const auto uris = serve(std::move(sockets));
    const ReadyFile ready(settings_.ready_file, uris);
    if (sandboxed()) finish_sandbox(needs, files_restricted);
    notifier_.ready(status());
    watch();
    stop();
  }

 private:
  void fit_connections() {
    const std::uint64_t descriptors = raise_descriptor_limit();
    const std::uint64_t possible = connections_below(descriptors, settings_.threads);
    if (possible >= settings_.limits.connections) return;
    log_.warn("{} connections instead of {}: the limit of open files is {} (LimitNOFILE=, ulimit -n)",
              format_count(possible), format_count(settings_.limits.connections), format_count(descriptors));
    settings_.limits.connections = possible;
  }

  void start(PolicyPtr policy) {
    repository_ = Repository::open(open_served_store());
    const auto cache = std::make_shared<FrameCache>(settings_.cache.memory_bytes);
    exports_ = std::make_unique<RepositoryExports>(repository_, cache, metrics_);
    site_ = std::make_unique<http::Site>(repository_, cache, disk_cache_);
    const unsigned workers = std::max(4U, 2 * std::thread::hardware_concurrency());
    const ServerThreads threads{static_cast<unsigned>(settings_.threads), workers};
    server_ = std::make_unique<Server>(*exports_, metrics_, std::move(policy), threads, log_);
  }

  /// What the disk cache answers does not count as the store's.
  std::unique_ptr<Store> open_served_store() {
    auto store = meter_store(open_store(settings_.repository), metrics_);
    const CacheSettings& cache = settings_.cache;
    if (cache.disk_folder.empty()) return store;
    disk_cache_ = DiskCache::open(cache.disk_folder, cache.disk_bytes);
    return make_near_store(std::move(store), disk_cache_);
  }

  /// Returns the URIs.
  std::vector<std::string> serve(ActivatedSockets sockets) {
    std::vector<std::string> uris;
    for (Listener& listener : sockets.nbd) {
      uris.push_back(nbd_uri(listener, settings_.tls.nbd == TlsMode::kRequired));
      server_->serve_nbd(std::move(listener));
    }
    for (Listener& listener : sockets.http) {
      uris.push_back(http_uri(listener, settings_.tls.http));
      server_->serve_http(std::move(listener), *site_);
    }
    log_.info("serving {} with {} of cache", repository_->store().location(),
              format_bytes(settings_.cache.memory_bytes));
    for (const auto& uri : uris) log_.info("listening on {}", uri);
    return uris;
  }

  [[nodiscard]] bool sandboxed() const {
#ifdef VMPACK_SANITIZED
    return false;
#else
    return started_.sandbox;
#endif
  }

  void finish_sandbox(const SandboxNeeds& needs, bool files_restricted) {
    if (!restrict_calls(needs, files_restricted)) log_.warn("this kernel has no seccomp: rights were kept");
    if (!files_restricted)
      log_.info("this kernel has no Landlock: files of sockets stay when the server stops");
  }

  /// Until a signal to stop.
  void watch() {
    const auto watchdog = notifier_.watchdog();
    const auto pace = watchdog ? std::min<std::chrono::nanoseconds>(*watchdog / 2, kTick) : kTick;
    for (;;) {
      const auto signal = signals_.wait(pace);
      if (signal == SIGHUP) {
        reload();
      } else if (signal) {
        return;
      }
      report();
    }
  }

  void report() {
    log_.flush();
    if (!notifier_.connected()) return;
    const auto silence_max =
        std::max<std::chrono::nanoseconds>(notifier_.watchdog().value_or(kSilenceMin), kSilenceMin);
    if (server_->longest_silence() < silence_max) notifier_.alive();
    if (auto now = status(); now != status_) notifier_.status(status_ = std::move(now));
  }

  void reload() {
    notifier_.reloading();
    try {
      apply(reread_());
    } catch (const std::exception& error) {
      log_.error("not reloaded, what was set stays: {}", error.what());
    }
    notifier_.ready(status());
  }

  void apply(Settings fresh) {
    const std::string names = changes_for_a_restart(started_, fresh);
    keep_what_was_started(fresh);
    server_->set_policy(make_policy(fresh));
    log_.set_level(spdlog::level::from_str(fresh.log_level));
    settings_ = std::move(fresh);
    log_.info("reloaded");
    if (!names.empty()) log_.warn("only a restart can change {}", names);
  }

  /// What all connections share was made when the server started, and the rest must fit into it.
  void keep_what_was_started(Settings& fresh) {
    ServerLimits& limits = fresh.limits;
    limits.requests_in_flight = started_.limits.requests_in_flight;
    limits.bytes_in_flight = started_.limits.bytes_in_flight;
    limits.connection_bytes_in_flight = std::min(limits.connection_bytes_in_flight, limits.bytes_in_flight);
    limits.connections =
        std::min(limits.connections, connections_below(raise_descriptor_limit(), started_.threads));
  }

  void stop() {
    log_.info("stopping: {} connections are open", server_->connections());
    notifier_.stopping("waiting for requests under way");
    server_->begin_stop();
    const auto deadline = steady_clock::now() + settings_.drain;
    bool at_once = false;
    while (server_->connections() > 0 && steady_clock::now() < deadline && !at_once) {
      const auto signal = signals_.wait(kStopPoll);
      at_once = signal && signal != SIGHUP;
    }
    if (server_->connections() > 0) log_.warn("{} connections did not end in time", server_->connections());
    server_->finish_stop();
    log_.info("stopped");
    log_.flush();
  }

  [[nodiscard]] std::string status() const {
    return fmt::format("serving {} connections", server_->connections());
  }

  const Settings started_;
  Settings settings_;
  const std::function<Settings()>& reread_;
  const Signals signals_;
  const Notifier notifier_;
  spdlog::logger log_;
  std::string status_;
  ServerMetrics metrics_;
  std::shared_ptr<DiskCache> disk_cache_;  // null: none
  std::shared_ptr<const Repository> repository_;
  std::unique_ptr<RepositoryExports> exports_;
  std::unique_ptr<http::Site> site_;
  std::unique_ptr<Server> server_;
};

}  // namespace

void run_daemon(const Settings& settings, const std::function<Settings()>& reread) {
  Daemon(settings, reread).run();
}

}  // namespace vmpack
