// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/leases.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/json.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/sealed_json.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kPrefix = "leases/";
constexpr std::string_view kFormat = "vmpack-lease";
/// There is one at a time: the key is what keeps others out.
constexpr std::string_view kCollectorId = "collector";
constexpr std::array kKinds{LeaseKind::kWriter, LeaseKind::kCollector, LeaseKind::kHold};

std::string random_id(std::string_view kind) {
  std::random_device random;
  return fmt::format("{}-{:08x}{:08x}", kind, random(), random());
}

std::string this_process() {
  std::array<char, 256> host{};
  static_cast<void>(::gethostname(host.data(), host.size() - 1));
  return fmt::format("process {} on {}", ::getpid(), host.data());
}

/// `renewal` differs at each writing, so that no two states of a lease are the same bytes.
std::string to_text(const LeaseFacts& lease, std::uint64_t renewal) {
  OrderedJson json = {{"format", kFormat},
                      {"version", kFormatVersion},
                      {"required_features", OrderedJson::array()},
                      {"kind", lease_kind_name(lease.kind)},
                      {"holder", lease.holder},
                      {"begin", lease.begin}};
  if (lease.end) json["end"] = *lease.end;
  if (lease.snapshot) json["snapshot"] = lease.snapshot->hex();
  json["renewal"] = renewal;
  return seal_json(dump_json(json));
}

LeaseFacts from_text(std::string_view text, std::string_view key) {
  return read_json(check_sealed_json(text, key), key, [&](const OrderedJson& json) {
    check_json_format(json, kFormat, {}, key);
    LeaseFacts lease;
    lease.id = key.substr(kPrefix.size());
    const auto kind = json.at("kind").get<std::string>();
    const auto known = std::ranges::find(kKinds, kind, lease_kind_name);
    if (known == kKinds.end()) {
      throw Error(ErrorCode::kUnsupported, fmt::format("{} is of a kind that this vmpack does not know", key),
                  "use a newer vmpack");
    }
    lease.kind = *known;
    lease.holder = json.at("holder").get<std::string>();
    lease.begin = json.at("begin").get<std::int64_t>();
    if (json.contains("end")) lease.end = json.at("end").get<std::int64_t>();
    if (json.contains("snapshot"))
      lease.snapshot = SnapshotDigest(digest_from_json(json.at("snapshot"), key));
    return lease;
  });
}

/// nullopt when the file is gone.
std::optional<LeaseFacts> read_lease(Store& store, const std::string& key, StoreStat* stat = nullptr) {
  try {
    return from_text(as_text(store.get(key, limits::kJsonBytesMax, stat)), key);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kNotFound) return std::nullopt;
    throw;
  }
}

}  // namespace

std::string_view lease_kind_name(LeaseKind kind) {
  switch (kind) {
    case LeaseKind::kWriter:
      return "writer";
    case LeaseKind::kCollector:
      return "collector";
    case LeaseKind::kHold:
      return "hold";
  }
  return "";
}

std::string lease_key(std::string_view id) { return fmt::format("{}{}", kPrefix, id); }

std::vector<LeaseFacts> list_leases(Store& store) {
  std::vector<std::string> keys;
  store.list(kPrefix, [&](const std::string& key, std::uint64_t) { keys.push_back(key); });
  std::vector<LeaseFacts> leases;
  for (const std::string& key : keys) {
    if (auto lease = read_lease(store, key)) leases.push_back(std::move(*lease));
  }
  return leases;
}

std::string hold_snapshot(Store& store, const SnapshotDigest& snapshot, std::string_view holder,
                          std::optional<std::int64_t> seconds) {
  LeaseFacts lease;
  lease.id = random_id(lease_kind_name(LeaseKind::kHold));
  lease.kind = LeaseKind::kHold;
  lease.holder = holder;
  lease.begin = store.now();
  if (seconds) lease.end = lease.begin + *seconds;
  lease.snapshot = snapshot;
  store.put_if_absent(lease_key(lease.id), as_byte_view(to_text(lease, 0)));
  return lease.id;
}

void release_hold(Store& store, std::string_view id) {
  std::optional<LeaseFacts> lease;
  if (id.starts_with(lease_kind_name(LeaseKind::kHold))) lease = read_lease(store, lease_key(id));
  if (!lease || lease->kind != LeaseKind::kHold) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("there is no hold {} in {}", printable(id), store.location()),
                "'vmpack hold --list' shows what there is");
  }
  store.remove(lease_key(id));
}

struct Lease::State {
  State(Store& to, LeaseFacts its_facts) : store(to), facts(std::move(its_facts)), key(lease_key(facts.id)) {}

  Store& store;
  std::mutex mutex;
  LeaseFacts facts;  // guarded by mutex, as all that follows
  const std::string key;
  std::optional<StoreVersion> version;
  std::uint64_t renewals = 0;
  bool lost = false;
  std::condition_variable_any ended;
  std::jthread keeper;  // last: ends before what it uses

  /// Call with the mutex held.
  bool write() {
    const std::int64_t now = store.now();
    if (facts.is_over(now)) return false;
    LeaseFacts next = facts;
    next.end = now + kLeaseSeconds;
    if (!store.replace_if_version(key, as_byte_view(to_text(next, renewals++)), version)) return false;
    StoreStat stat;
    const auto stored = read_lease(store, key, &stat);
    if (!stored || stored->begin != facts.begin || stored->holder != facts.holder) return false;
    version = stat.version;
    facts = std::move(next);
    return true;
  }

  void keep(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    while (!ended.wait_for(lock, stop, std::chrono::seconds(kLeaseSeconds / 5), [] { return false; }) &&
           !stop.stop_requested() && !lost) {
      try {
        lost = !write();
      } catch (const std::exception&) {
        // Tried again in a while; whether it came too late, write() will see.
      }
    }
  }
};

Lease::Lease(std::unique_ptr<State> state) : state_(std::move(state)) {}

Lease::~Lease() {
  if (state_->keeper.joinable()) {
    state_->keeper.request_stop();
    state_->keeper.join();
  }
  if (state_->lost) return;
  try {
    state_->store.remove(state_->key);
  } catch (const std::exception&) {
    // It ends by itself.
  }
}

std::unique_ptr<Lease> Lease::take(Store& store, LeaseKind kind, bool keeps_itself) {
  LeaseFacts facts;
  facts.kind = kind;
  facts.id = kind == LeaseKind::kCollector ? std::string(kCollectorId) : random_id(lease_kind_name(kind));
  facts.holder = random_id(this_process());
  facts.begin = store.now();
  auto state = std::make_unique<State>(store, std::move(facts));
  StoreStat stat;
  if (const auto other = read_lease(store, state->key, &stat)) {
    if (!other->is_over(store.now())) {
      throw Error(ErrorCode::kRefused,
                  fmt::format("{} is being collected by {}", store.location(), other->holder),
                  "wait until it is done; if it died, its lease ends by itself within five minutes");
    }
    state->version = stat.version;
  }
  if (!state->write()) {
    throw Error(ErrorCode::kIo, fmt::format("cannot take the lease {} in {}", state->key, store.location()),
                "somebody else was faster: try again");
  }
  if (keeps_itself) {
    state->keeper = std::jthread([&kept = *state](const std::stop_token& stop) { kept.keep(stop); });
  }
  return std::unique_ptr<Lease>(new Lease(std::move(state)));
}

bool Lease::renew() {
  const std::lock_guard lock(state_->mutex);
  if (!state_->lost) state_->lost = !state_->write();
  return !state_->lost;
}

bool Lease::keep(const SnapshotDigest& snapshot) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->facts.snapshot = snapshot;
  }
  return renew();
}

bool Lease::is_over() const {
  const std::lock_guard lock(state_->mutex);
  return state_->lost || state_->facts.is_over(state_->store.now());
}

std::string Lease::id() const {
  const std::lock_guard lock(state_->mutex);
  return state_->facts.id;
}

std::int64_t Lease::begin() const {
  const std::lock_guard lock(state_->mutex);
  return state_->facts.begin;
}

}  // namespace vmpack
