// SPDX-License-Identifier: Apache-2.0
// What writers that are at work at the same time tell each other: which objects each is about to store, so
// that the others need not. Format: formats/repository.md; how ingests use it: docs/decisions/0016-index.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// One writer's side. Nothing is written as long as it is alone. All of it is a hint: a claim that is late,
/// lost or never kept costs space or time, and nothing else. Errors of the store are passed on. Not for use
/// by two threads at once.
class WriterClaims {
 public:
  /// `id`: of this writer's lease, which is there already. `store` must outlive this.
  WriterClaims(Store& store, std::string id);
  /// Takes all its claims back.
  ~WriterClaims();
  WriterClaims(const WriterClaims&) = delete;
  WriterClaims& operator=(const WriterClaims&) = delete;

  /// Learns who else is at work, and what they claim; true when there is somebody. While this was alone, at
  /// most every kLookPause. The first time, others get a moment to notice this writer, and to tell.
  bool look();

  /// Whether another writer that was there at the last look() claims the object.
  [[nodiscard]] bool is_claimed(const ObjectDigest& object) const;
  /// The same for one to whom this writer gives way, should both claim it.
  [[nodiscard]] bool is_claimed_before_ours(const ObjectDigest& object) const;

  /// Tells the others that these, of window number `window`, are about to be stored; with the last ones of
  /// when nobody was there to be told. Whoever claims the same at the same time shows at the next look().
  void claim(std::uint64_t window, std::span<const ObjectDigest> objects);
  /// Takes back what was claimed for windows below `window`: the index has it now.
  void take_back(std::uint64_t window);

 private:
  using Prefix = std::uint64_t;
  using Files = std::map<std::string, std::vector<Prefix>>;  ///< by key; sorted
  struct OwnFile {
    std::uint64_t window;  ///< the last one it is of
    std::string key;
  };
  bool look_now();
  [[nodiscard]] bool all_have_told() const;
  void read_claims(const std::string& id, const std::set<std::string>& keys);

  static constexpr std::chrono::milliseconds kLookPause{100};
  static constexpr std::chrono::milliseconds kNoticeTime{400};

  Store& store_;
  const std::string id_;
  std::map<std::string, Files> others_;  // by id
  std::chrono::steady_clock::time_point looked_;
  bool has_looked_ = false;
  std::deque<Prefix> untold_;
  std::deque<OwnFile> own_;
  std::uint64_t told_ = 0;
};

}  // namespace vmpack
