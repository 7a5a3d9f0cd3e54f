// SPDX-License-Identifier: Apache-2.0
// A progress bar on one line of a terminal.
#pragma once

#include <chrono>
#include <iosfwd>
#include <mutex>
#include <string>

#include "libvmpack/base/progress.hpp"

namespace vmpack::cli {

/// Shows itself once a stage has taken a second, and redraws at most ten times a second. Any thread.
class ProgressBar final : public Progress {
 public:
  ProgressBar(std::ostream& stream, bool draw, bool show_warnings)
      : stream_(stream), draw_(draw), show_warnings_(show_warnings) {}
  ~ProgressBar() override { end(); }

  void begin(std::string_view stage, std::uint64_t total) override;
  void advance(std::uint64_t amount) override;
  void end() override;
  void warn(std::string_view message) override;

 private:
  using Clock = std::chrono::steady_clock;
  void draw_locked(Clock::time_point now);
  void erase_locked();

  std::ostream& stream_;
  const bool draw_;
  const bool show_warnings_;
  std::mutex mutex_;
  std::string stage_;
  std::uint64_t total_ = 0;
  std::uint64_t done_ = 0;
  Clock::time_point started_;
  Clock::time_point drawn_;
  bool visible_ = false;
};

}  // namespace vmpack::cli
