// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/writer_claims.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <thread>
#include <utility>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/json.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/sealed_json.hpp"
#include "libvmpack/repo/leases.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kPrefix = "claims/";
constexpr std::string_view kFormat = "vmpack-claim";
constexpr std::size_t kPrefixDigits = 16;
/// Of what was stored while nobody was there so much is told to who comes: about what lies in a pack that is
/// not finished.
constexpr std::size_t kUntoldMax = 64 * 1024;
constexpr std::chrono::milliseconds kPutTimeMax{300};

std::string to_text(std::span<const std::uint64_t> prefixes) {
  std::string digits;
  digits.reserve(prefixes.size() * kPrefixDigits);
  for (const std::uint64_t prefix : prefixes) digits += fmt::format("{:016x}", prefix);
  return seal_json(dump_json({{"format", kFormat},
                              {"version", kFormatVersion},
                              {"required_features", OrderedJson::array()},
                              {"objects", std::move(digits)}}));
}

std::vector<std::uint64_t> from_text(std::string_view text, std::string_view key) {
  return read_json(check_sealed_json(text, key), key, [&](const OrderedJson& json) {
    check_json_format(json, kFormat, {}, key);
    const auto digits = json.at("objects").get<std::string>();
    std::vector<std::uint64_t> prefixes(digits.size() / kPrefixDigits);
    for (std::size_t i = 0; i < prefixes.size(); ++i) {
      const char* const first = digits.data() + i * kPrefixDigits;
      std::from_chars(first, first + kPrefixDigits, prefixes[i], 16);
    }
    std::ranges::sort(prefixes);
    return prefixes;
  });
}

bool claims(const std::map<std::string, std::vector<std::uint64_t>>& files, std::uint64_t prefix) {
  return std::ranges::any_of(
      files, [&](const auto& file) { return std::ranges::binary_search(file.second, prefix); });
}

/// Ids of the leases of writers but `own`. Nobody, where one of them is damaged: it is a hint.
std::set<std::string> writers_at_work(Store& store, std::string_view own) {
  std::set<std::string> ids;
  const std::int64_t now = store.now();
  try {
    for (const LeaseFacts& lease : list_leases(store)) {
      if (lease.kind == LeaseKind::kWriter && lease.id != own && !lease.is_over(now)) ids.insert(lease.id);
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDamaged && error.code() != ErrorCode::kUnsupported) throw;
    return {};
  }
  return ids;
}

}  // namespace

WriterClaims::WriterClaims(Store& store, std::string id) : store_(store), id_(std::move(id)) {}

WriterClaims::~WriterClaims() {
  for (const OwnFile& file : own_) {
    try {
      store_.remove(file.key);
    } catch (const std::exception&) {
      // Whoever looks next finds that the lease is gone, and removes it.
    }
  }
}

bool WriterClaims::look() {
  const auto now = std::chrono::steady_clock::now();
  if (has_looked_ && others_.empty() && now - looked_ < kLookPause) return false;
  const bool is_first = !std::exchange(has_looked_, true);
  looked_ = now;
  bool others = look_now();
  while (is_first && others && !all_have_told() && std::chrono::steady_clock::now() - now < kNoticeTime) {
    std::this_thread::sleep_for(kLookPause / 2);
    others = look_now();
  }
  return others;
}

bool WriterClaims::all_have_told() const {
  return std::ranges::none_of(others_, [](const auto& other) { return other.second.empty(); });
}

bool WriterClaims::look_now() {
  const std::set<std::string> at_work = writers_at_work(store_, id_);
  std::erase_if(others_, [&](const auto& other) { return !at_work.contains(other.first); });
  for (const std::string& id : at_work) others_.try_emplace(id);
  if (others_.empty()) return false;

  std::map<std::string, std::set<std::string>> keys;  // of each writer
  for (const std::string& id : at_work) keys.try_emplace(id);
  store_.list(kPrefix, [&](const std::string& key, std::uint64_t) {
    const std::string_view rest = std::string_view(key).substr(kPrefix.size());
    keys[std::string(rest.substr(0, rest.find('/')))].insert(key);
  });
  for (const auto& [id, its_keys] : keys) {
    if (id != id_) read_claims(id, its_keys);
  }
  return true;
}

void WriterClaims::read_claims(const std::string& id, const std::set<std::string>& keys) {
  const auto writer = others_.find(id);
  if (writer == others_.end()) {
    // Leases come before claims and go after them: these were left by a writer that was killed, or are of one
    // that has just begun.
    if (store_.stat(lease_key(id))) return;
    for (const std::string& key : keys) store_.remove(key);
    return;
  }
  Files& files = writer->second;
  std::erase_if(files, [&](const auto& file) { return !keys.contains(file.first); });
  for (const std::string& key : keys) {
    if (files.contains(key)) continue;
    try {
      const Bytes bytes = store_.get(key, limits::kJsonBytesMax);
      files.emplace(key, from_text(as_text(bytes), key));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound && error.code() != ErrorCode::kDamaged) throw;
    }
  }
}

bool WriterClaims::is_claimed(const ObjectDigest& object) const {
  return std::ranges::any_of(others_,
                             [&](const auto& other) { return claims(other.second, object.prefix()); });
}

bool WriterClaims::is_claimed_before_ours(const ObjectDigest& object) const {
  return std::ranges::any_of(
      others_, [&](const auto& other) { return other.first < id_ && claims(other.second, object.prefix()); });
}

void WriterClaims::claim(std::uint64_t window, std::span<const ObjectDigest> objects) {
  for (const ObjectDigest& object : objects) untold_.push_back(object.prefix());
  if (untold_.empty()) return;
  if (others_.empty()) {
    while (untold_.size() > kUntoldMax) untold_.pop_front();
    return;
  }
  std::vector<Prefix> prefixes(untold_.begin(), untold_.end());
  untold_.clear();
  std::ranges::sort(prefixes);
  own_.push_back({window, fmt::format("{}{}/{:08}", kPrefix, id_, told_++)});
  const auto begin = std::chrono::steady_clock::now();
  store_.put_if_absent(own_.back().key, as_byte_view(to_text(prefixes)));
  // Another one may have looked before this was there to be seen, and be about to claim the same: that takes
  // it about as long as it took here.
  std::this_thread::sleep_for(
      std::min<std::chrono::steady_clock::duration>(std::chrono::steady_clock::now() - begin, kPutTimeMax));
}

void WriterClaims::take_back(std::uint64_t window) {
  for (; !own_.empty() && own_.front().window < window; own_.pop_front()) store_.remove(own_.front().key);
}

}  // namespace vmpack
