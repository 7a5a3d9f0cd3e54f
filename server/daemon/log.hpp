// SPDX-License-Identifier: Apache-2.0
// The log on stderr: for people, for programs, for the journal; and never a flood.
#pragma once

#include <spdlog/formatter.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "server/settings.hpp"

namespace vmpack {

/// Lines as a user wants them. The fields of a record (server/record.hpp) show in JSON alone.
class LogFormatter final : public spdlog::formatter {
 public:
  /// `journal`: each line begins with its priority, as journald and sd-daemon(3) know it, and has no time.
  LogFormatter(LogFormat format, bool journal) : format_(format), journal_(journal) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& into) override;
  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override;

 private:
  LogFormat format_;
  bool journal_;
};

/// Passes on a few messages of a kind, counts the others, and tells their number when some time has passed. A
/// kind is what is left of a message without its client and its numbers. Records pass always.
class ThrottledSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  static constexpr std::uint64_t kAtOnce = 20;
  static constexpr std::chrono::seconds kWindow{10};

  explicit ThrottledSink(std::shared_ptr<spdlog::sinks::sink> behind) : behind_(std::move(behind)) {}
  /// Tells of what is still held back.
  ~ThrottledSink() override;
  ThrottledSink(const ThrottledSink&) = delete;
  ThrottledSink& operator=(const ThrottledSink&) = delete;

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override;
  void flush_() override;
  void set_formatter_(std::unique_ptr<spdlog::formatter> formatter) override;

 private:
  struct Kind {
    std::chrono::system_clock::time_point began;
    std::uint64_t count = 0;
    std::string last;  ///< of those held back
    spdlog::level::level_enum level = spdlog::level::off;
  };
  /// Says how many of the kind were held back.
  void tell(const Kind& kind, std::chrono::system_clock::time_point now);
  /// Tells of all kinds whose window is over, and forgets them.
  void settle(std::chrono::system_clock::time_point now);

  std::shared_ptr<spdlog::sinks::sink> behind_;
  std::map<std::string, Kind, std::less<>> kinds_;
};

/// On stderr. Flush it now and then, so that what was held back is told of.
[[nodiscard]] spdlog::logger make_log(LogFormat format, const std::string& level);

}  // namespace vmpack
