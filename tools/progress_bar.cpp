// SPDX-License-Identifier: Apache-2.0
#include "tools/progress_bar.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <ostream>

#include "libvmpack/base/format_text.hpp"

namespace vmpack::cli {
namespace {

constexpr std::chrono::milliseconds kShowAfter{1000};
constexpr std::chrono::milliseconds kRedrawAfter{100};
constexpr std::uint64_t kWidth = 30;

}  // namespace

void ProgressBar::begin(std::string_view stage, std::uint64_t total) {
  const std::lock_guard lock(mutex_);
  erase_locked();
  stage_ = stage;
  total_ = total;
  done_ = 0;
  started_ = Clock::now();
}

void ProgressBar::advance(std::uint64_t amount) {
  const std::lock_guard lock(mutex_);
  done_ += amount;
  const auto now = Clock::now();
  if (!draw_ || stage_.empty() || now - started_ < kShowAfter || now - drawn_ < kRedrawAfter) return;
  draw_locked(now);
}

void ProgressBar::end() {
  const std::lock_guard lock(mutex_);
  erase_locked();
  stage_.clear();
}

void ProgressBar::warn(std::string_view message) {
  const std::lock_guard lock(mutex_);
  erase_locked();
  if (show_warnings_) stream_ << "vmpack: warning: " << printable(message) << '\n' << std::flush;
}

void ProgressBar::draw_locked(Clock::time_point now) {
  const double seconds = std::chrono::duration<double>(now - started_).count();
  const auto rate = static_cast<std::uint64_t>(static_cast<double>(done_) / seconds);
  std::string line;
  if (total_ > 0) {
    const std::uint64_t done = std::min(done_, total_);
    const auto filled = static_cast<std::size_t>(done / std::max<std::uint64_t>(1, total_ / kWidth));
    line = fmt::format("{:<10} [{:<{}}] {:>3}%  {} of {}  {}/s", stage_,
                       std::string(std::min<std::size_t>(filled, kWidth), '#'), kWidth, done * 100 / total_,
                       format_bytes(done), format_bytes(total_), format_bytes(rate));
  } else {
    line = fmt::format("{:<10} {:.0f} s", stage_, seconds);
  }
  stream_ << '\r' << line << "\x1b[K" << std::flush;
  visible_ = true;
  drawn_ = now;
}

void ProgressBar::erase_locked() {
  if (visible_) stream_ << "\r\x1b[K" << std::flush;
  visible_ = false;
}

}  // namespace vmpack::cli
