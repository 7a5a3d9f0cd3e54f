// SPDX-License-Identifier: Apache-2.0
// How long-running work tells a person where it is. The library calls, the command draws.
#pragma once

#include <cstdint>
#include <string_view>

namespace vmpack {

/// Implementations must take calls from any thread, and return at once.
class Progress {
 public:
  Progress() = default;
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  virtual ~Progress() = default;

  /// A stage begins ("packing", "verifying"); `total` is in bytes, or 0 where it is not known.
  virtual void begin(std::string_view stage, std::uint64_t total) = 0;
  /// `amount` more bytes of the current stage are done.
  virtual void advance(std::uint64_t amount) = 0;
  virtual void end() = 0;
  /// Something that the user should know, and that did not make the command fail.
  virtual void warn(std::string_view message) = 0;
};

/// Swallows everything.
class NoProgress final : public Progress {
 public:
  void begin(std::string_view, std::uint64_t) override {}
  void advance(std::uint64_t) override {}
  void end() override {}
  void warn(std::string_view) override {}
};

}  // namespace vmpack
